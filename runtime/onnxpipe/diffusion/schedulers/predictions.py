"""What a model predicts, turned into the image without noise or into the noise.

A noisy sample is alpha * image + sigma * noise; where the scale of the image is kept, alpha is 1.
"""

from __future__ import annotations

import numpy as np

from onnxpipe.diffusion.random import Noise
from onnxpipe.diffusion.schedulers.config import SchedulerConfig, Thresholds


def image_of(kind: str, output: Noise, sample: Noise, alpha: np.float32, sigma: np.float32) -> Noise:
    """Turn the model's output into the image without noise.

    Args:
        kind: the prediction_type.
        output: of the model.
        sample: the noisy sample that the model saw.
        alpha, sigma: the shares of the image and of the noise in it.
    """
    if kind == "epsilon":
        with np.errstate(divide="ignore", invalid="ignore"):  # pure noise tells nothing of the image
            return np.asarray((sample - sigma * output) / alpha, np.float32)
    if kind == "v_prediction":
        return alpha * sample - sigma * output
    if kind == "flow_prediction":
        return sample - sigma * output
    return output


def noise_of(kind: str, output: Noise, sample: Noise, alpha: np.float32, sigma: np.float32) -> Noise:
    """Turn the model's output into the noise; as `image_of`."""
    if kind == "epsilon":
        return output
    if kind == "v_prediction":
        return alpha * output + sigma * sample
    return np.asarray((sample - alpha * output) / sigma, np.float32)


def image_of_unscaled(kind: str, output: Noise, sample: Noise, sigma: np.float32) -> Noise:
    """Turn the model's output into the image, where the sample is image + sigma * noise."""
    if kind == "epsilon":
        return sample - sigma * output
    if kind == "v_prediction":
        return np.asarray(output * (-sigma / np.sqrt(sigma**2 + 1)) + sample / (sigma**2 + 1), np.float32)
    return output


def thresholded(image: Noise, config: Thresholds) -> Noise:
    """Clip each image to a quantile of its own values and scale it to [-1, 1] (Saharia et al., "Imagen", 2022)."""
    values = np.abs(image.reshape(len(image), -1))
    limit = np.quantile(values, config.dynamic_thresholding_ratio, axis=1)
    limit = np.clip(limit, 1, config.sample_max_value).astype(np.float32).reshape(-1, *[1] * (image.ndim - 1))
    return np.asarray(np.clip(image, -limit, limit) / limit, np.float32)


def clipped(image: Noise, config: SchedulerConfig) -> Noise:
    """Keep a predicted image within the range that the config sets, if it does."""
    if not config.own("clip_sample", False):
        return image
    limit = config.own("clip_sample_range", 1.0)
    return np.clip(image, -limit, limit)


def bounded(image: Noise, config: Thresholds) -> Noise:
    """Keep a predicted image within the bounds that the config sets: dynamic ones, a range, or none."""
    return thresholded(image, config) if config.thresholding else clipped(image, config)
