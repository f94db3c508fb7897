import csv
import io

import numpy as np
import torch

from eln_kit.tools.model import Found
from eln_kit.tools.queue import COLUMNS, account, as_csv, balanced, least_trusted, queue, rank

CLASSES = ["sky", "road", "sign"]


def found(mask, trust, second=None):
    mask, trust = np.array(mask, np.uint8), np.array(trust, np.float32)
    second = np.full_like(mask, 2) if second is None else np.array(second, np.uint8)
    image = torch.zeros(3, *mask.shape, dtype=torch.uint8)
    return Found(image, mask, second, trust, 0.5, CLASSES, np.zeros((3, 3), np.uint8))


def told(error, classes, features=(0.0,), image="a.png"):
    return {"error": error, "classes": classes, "features": list(features), "image": image, "regions": []}


def test_an_image_tells_its_expected_error_and_that_of_each_predicted_class():
    seen = account(found([[0, 0, 0, 1]], [[1, 1, 0.6, 0.2]]))
    assert seen["error"] == 0.3
    assert seen["classes"] == {"0": [0.75, 0.1], "1": [0.25, 0.2]}


def test_regions_are_connected_of_one_class_and_the_worst_come_first():
    mask = [[0, 0, 1, 1, 1], [0, 0, 0, 0, 1]]
    trust = [[0.2, 0.9, 0.4, 0.1, 0.1], [0.9, 0.9, 0.9, 0.3, 0.4]]
    second = [[1, 1, 0, 2, 2], [1, 1, 1, 2, 0]]
    regions = least_trusted(found(mask, trust, second))
    assert regions[0] == [2, 0, 5, 2, 1, 0], "two of its four pixels would be sky, as many as sign"
    assert regions[1:] == [[0, 0, 1, 1, 0, 1], [3, 1, 4, 2, 0, 2]]
    assert least_trusted(found([[0]], [[0.5]])) == []


def test_in_the_balanced_score_a_rare_class_counts_as_much_as_a_common_one():
    accounts = [told(0.1, {"0": [0.9, 0.1], "1": [0.1, 0]}), told(0.1, {"0": [0.9, 0], "1": [0.1, 0.1]})]
    assert np.allclose(balanced(accounts), [0.1 / 0.9 / 2, 0.1 / 0.1 / 2])


def test_a_near_duplicate_of_a_higher_ranked_image_comes_late_and_names_it():
    scores = np.array([0.5, 0.49, 0.3, 0.1])
    features = np.array([[1.0, 0], [1, 0], [0, 1], [-1, -1]])
    order, nearest = rank(scores, features)
    assert order.tolist() == [0, 2, 3, 1]
    assert nearest[1] == 0
    assert nearest[0] == -1


def test_images_all_alike_are_ranked_by_their_score():
    assert rank(np.array([0.1, 0.3, 0.2]), np.ones((3, 2)))[0].tolist() == [1, 2, 0]


def test_doubt_about_a_rare_class_comes_before_more_doubt_about_a_common_one():
    common, rare = (
        told(0.2, {"0": [1, 0.2]}, (0, 1), "common"),
        told(0.1, {"0": [0.8, 0], "1": [0.2, 0.1]}, (1, 0), "rare"),
    )
    first, second = queue([common, rare], CLASSES)
    assert (first["image"], first["rank"], first["rank_unbalanced"]) == ("rare", 1, 2)
    assert (second["image"], second["rank"], second["rank_unbalanced"]) == ("common", 2, 1)


def test_the_table_has_each_image_once_and_survives_any_name():
    accounts = [told(0.1, {"0": [1, 0.1]}, (n, n * n), f'a,"{n}\n.png') for n in range(5)]
    rows = list(csv.DictReader(io.StringIO(as_csv(queue(accounts, CLASSES)))))
    assert list(rows[0]) == COLUMNS
    assert [row["rank"] for row in rows] == list("12345")
    assert {row["image"] for row in rows} == {each["image"] for each in accounts}
