"""The contrastive loss in whole matrices, differentiated by autograd, to hold the fast one against."""

from torch.nn.functional import normalize

VOID = 255


def contrastive_loss(student, teacher, labels, temperature, classes):
    """As `eln_kit.method.losses.contrastive_loss`, in the precision of the maps."""
    x, y = (normalize(maps.permute(1, 0, 3, 4, 2).flatten(1, 3), dim=2) for maps in (student, teacher.detach()))
    label = labels.permute(1, 0, 2, 3).flatten(1)
    e = (x @ y.mT / temperature).exp() * (label != VOID)[:, None]
    same = label[:, :, None] == label[:, None]
    per_pixel = e.sum(2).log() - (e * same).sum(2).clamp(min=1e-30).log()
    total = 0 * student.sum()
    for window, terms in zip(label, per_pixel, strict=True):
        means = [terms[window == c].mean() for c in range(classes) if (window == c).any()]
        total = total + sum(means) / max(len(means), 1)
    return total / len(label)
