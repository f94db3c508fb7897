"""Semi-supervised semantic segmentation with an error localization network (Kwon and Kwak, CVPR 2022)."""

__version__ = "0.5.0"
