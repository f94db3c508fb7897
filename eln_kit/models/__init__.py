"""Networks: encoder, decoder, segmenter with auxiliary decoders, ELN, and all of them together."""

from eln_kit.models.error_localizer import ErrorLocalizer
from eln_kit.models.networks import Networks, Which
from eln_kit.models.segmenter import AuxiliaryDecoder, Prediction, Segmenter

__all__ = ["AuxiliaryDecoder", "ErrorLocalizer", "Networks", "Prediction", "Segmenter", "Which"]
