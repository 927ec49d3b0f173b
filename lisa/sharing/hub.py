"""Side networks from and to the Hugging Face hub; the token comes from the environment and goes nowhere else."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from lisa.errors import LisaError

HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
TOKEN = "HF_TOKEN"  # noqa: S105  (the name of a variable, not a token)


def hub_token() -> str:
    """Read HF_TOKEN; empty on a Space, where visitors would act in its owner's name."""
    return "" if os.environ.get("SPACE_ID") else os.environ.get(TOKEN, "").strip()


def why_no_push() -> str:
    """Say in one sentence why nothing can be uploaded from here; empty when it can."""
    if os.environ.get("SPACE_ID"):
        return "A Space has only its owner's token: download the zip, or run the lab on your computer to push."
    if not hub_token():
        return "HF_TOKEN is not set: start the lab with a write token of huggingface.co/settings/tokens in it."
    return ""


def fetch_snapshot(repository: str, revision: str, patterns: list[str]) -> tuple[Path, str]:
    """Fetch some files of a model repository into the hub's cache.

    Args:
        repository: "owner/name".
        revision: branch, tag or commit; empty takes the main branch.
        patterns: of the files, as in fnmatch.

    Returns:
        The folder in the cache and the commit.

    Raises:
        LisaError: if it cannot be had.
    """
    import huggingface_hub

    with _told(f"{repository} cannot be had from the hub", "check its name and revision, and the connection"):
        folder = huggingface_hub.snapshot_download(
            repository, revision=revision or None, allow_patterns=patterns, token=hub_token() or False
        )
    return Path(folder), Path(folder).name  # the cache keeps each commit in a folder of that name


def push_folder(folder: Path, repository: str, private: bool) -> str:
    """Upload a folder as a model repository, which is made if it does not exist.

    Args:
        folder: what to upload.
        repository: "owner/name".
        private: whether only its owner may see it.

    Returns:
        The repository's address.

    Raises:
        LisaError: if there is no token, the name is none, the repository is public though private was asked for, or
            the hub refuses.
    """
    check_push(repository)
    import huggingface_hub

    api = huggingface_hub.HfApi(token=hub_token())
    with _told(f"{repository} cannot be pushed to", "check its name, the token's rights and the connection"):
        if not api.repo_exists(repository):
            api.create_repo(repository, private=private)
        elif private and not api.model_info(repository).private:
            raise LisaError(f"{repository} exists and is public: push it as public, or choose another repository.")
        api.upload_folder(folder_path=folder, repo_id=repository, commit_message="Side network from LISA Lab")
        return f"{api.endpoint}/{repository}"


def check_push(repository: str) -> None:
    """Refuse a push that cannot succeed, before anything is packed.

    Args:
        repository: where to.

    Raises:
        LisaError: if there is no token, or the name is none.
    """
    if reason := why_no_push():
        raise LisaError(reason)
    if not HUB_ID.fullmatch(repository):
        raise LisaError(f"{repository[:80]!r} is no repository: write owner/name.")


@contextlib.contextmanager
def _told(what: str, advice: str) -> Iterator[None]:
    try:
        yield
    except LisaError:
        raise
    except Exception as error:  # the hub's client, the network and the disk have errors of their own
        why = (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")
        if token := hub_token():
            why = why.replace(token, "***")
        raise LisaError(f"{what} ({why}): {advice}.") from error
