"""Keeping other libraries' chatter off the screen; their errors stay."""

from __future__ import annotations

import logging
import os

from aepo_rllib.cli.saying import VERBOSE, loudness

NOISY = ("ray", "ray.rllib", "ray.tune", "ray._private", "lm_eval", "transformers", "huggingface_hub.utils._http")


def quiet_libraries() -> None:
    """Set what must be set before torch, ray and transformers are loaded, and lower their voices, but with `-v`."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TQDM_DISABLE", "1")  # lm-eval's bars; ours stay
    if loudness() == VERBOSE:
        logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
        return
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("ray.rllib.utils.actor_manager").setLevel(logging.CRITICAL)  # ten lines for every dead actor
