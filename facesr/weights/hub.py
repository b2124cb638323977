"""Weight folders on the Hugging Face Hub. They are downloaded once, then read from its cache."""

import re
from pathlib import Path

from facesr.errors import WeightsError

# Neither part is `..`, nor is any of a revision, so that `../x` is a path and nothing leaves the cache.
_REFERENCE = re.compile(r"(?!.*\.\.)(?:hf://)?(?P<repo>\w[\w.-]*/\w[\w.-]*?)(?:@(?P<revision>[\w./-]+))?")


def parse_reference(text: str) -> tuple[str, str | None] | None:
    """Split `user/repo`, `user/repo@revision` or either with `hf://`. Return None for other texts."""
    match = _REFERENCE.fullmatch(text)
    return (match["repo"], match["revision"]) if match else None


def cached_folders() -> dict[str, Path]:
    """Return the model folders in the Hub's cache by name. Empty if there is no cache.

    The revision `main` is named `user/repo`, others `user/repo@revision`.
    """
    import huggingface_hub
    from huggingface_hub import constants, errors

    try:
        repos = huggingface_hub.scan_cache_dir(constants.HF_HUB_CACHE).repos
    except (errors.CacheNotFound, OSError, ValueError):  # the last where it is a file
        return {}
    return {
        repo.repo_id if "main" in one.refs else f"{repo.repo_id}@{min(one.refs, default=one.commit_hash)}": (
            one.snapshot_path
        )
        for repo in sorted(repos, key=lambda repo: repo.repo_id)
        for one in repo.revisions
        if repo.repo_type == "model"
    }


def download_folder(repo: str, revision: str | None, *, names: tuple[str, ...]) -> Path:
    """Download files of a repository into the Hub's cache and return their folder there.

    If all files of a revision are in the cache, the Hub is not contacted. So a branch such as `main` stays as
    it was when it was downloaded.

    Raises:
        WeightsError: No such repository, revision or file, no permission, no network, or a broken transfer.
    """
    import huggingface_hub  # 0.3 s, which only those pay who name a repository
    from huggingface_hub import constants, errors, utils

    utils.disable_progress_bars()  # type: ignore[attr-defined]
    label = f"{repo}@{revision}" if revision else repo
    try:
        if constants.HF_HUB_CACHE.startswith("~"):  # 0.30 of the client makes a folder of that name
            raise OSError(0, "there is no home folder", constants.HF_HUB_CACHE)
        cached = [huggingface_hub.try_to_load_from_cache(repo, name, revision=revision) for name in names]
        if all(isinstance(path, str) for path in cached):
            return Path(str(cached[0])).parent
        paths = [huggingface_hub.hf_hub_download(repo, name, revision=revision) for name in names]
    except errors.GatedRepoError as error:
        raise WeightsError(
            f"{label}: access must be requested on the Hub", hint="request access there, then set HF_TOKEN"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise WeightsError(f"{label}: the repository has no such revision") from error
    except errors.RepositoryNotFoundError as error:
        raise WeightsError(
            f"{label}: no such repository on the Hub, or it is private",
            hint="check the name. For a private one, set HF_TOKEN",
        ) from error
    except errors.LocalEntryNotFoundError as error:
        raise WeightsError(
            f"{label}: cannot reach the Hub, and the cache does not have it",
            hint="check the network, HF_HUB_OFFLINE and HF_HOME, or name a weight folder on disk",
        ) from error
    except errors.EntryNotFoundError as error:
        raise WeightsError(
            f"{label}: not a weight folder, it needs {' and '.join(names)}",
            hint="download a .pth or .safetensors file yourself and name its path",
        ) from error
    except Exception as error:  # the client raises what its HTTP library does
        if isinstance(error, OSError) and error.filename:
            raise WeightsError(
                f"{label}: cannot write to the Hub's cache {constants.HF_HUB_CACHE}, {error.strerror}",
                hint="set HF_HOME to a folder that you can write to",
            ) from error
        raise WeightsError(
            f"{label}: the download failed ({type(error).__name__})", hint="run the same command again"
        ) from error
    return Path(paths[0]).parent
