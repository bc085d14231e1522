"""Bringing a model's folder to a model hub."""

from __future__ import annotations

from pathlib import Path

from aepo_rllib.models.model_card import is_hub_id


def check_can_push(repository: str) -> None:
    """Refuse what cannot succeed, before any work and without the network.

    Raises:
        ValueError: no name of a repository, no token, or the hub is switched off.
    """
    from huggingface_hub import constants, get_token

    if not is_hub_id(repository):
        raise ValueError(f"--push {repository!r:.200} is no repository of the hub, such as me/my-model")
    if constants.HF_HUB_OFFLINE:
        raise ValueError(f"--push {repository} needs the hub, and HF_HUB_OFFLINE switches it off; unset that variable")
    if not get_token():
        raise ValueError(
            f"--push {repository} needs a token with write access: log in with `hf auth login`, or set HF_TOKEN"
        )


def push(folder: Path, repository: str, *, private: bool) -> str:
    """Upload a folder into a repository of models, which is made where there is none.

    Args:
        folder: The model's.
        repository: Its id on the hub.
        private: Whether a repository that is made is to be private.

    Returns:
        The address of the repository.

    Raises:
        OSError: the hub has refused, or cannot be reached.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        # One that is there stays as it is: only what is made here follows `private`.
        address = api.create_repo(repository, repo_type="model", private=private, exist_ok=True)
        api.upload_folder(repo_id=address.repo_id, folder_path=folder, commit_message="Trained with aepo-rllib")
    except Exception as error:  # it passes on what its HTTP library raises, which is another in every major version
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise OSError(f"the hub did not take {repository}: {reason[0]}") from error
    return str(address)
