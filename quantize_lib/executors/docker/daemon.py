"""The Docker engine as the host sees it: finding it and its images, and removing what crashed runs left."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantize_lib.errors import EngineError, UsageError
from quantize_lib.files import read_json

if TYPE_CHECKING:
    from docker import DockerClient

OWNER_LABEL = "io.model-quantizer.owner"
"""On every container of ours: the process that started it, as `process_identity` names it."""
_ANSWER_SECONDS = 180
"""How long the engine may take for one request; ending a container that forked without end takes a while."""
_HOST_RESERVE = 0.1
"""Part of the machine's memory that a container without --memory leaves alone."""
_IMAGES = Path(__file__).with_name("image.json")
"""Default images; a release fills in what it pushed, by digest."""


def connect() -> DockerClient:
    """The engine that DOCKER_HOST names, else the one on this machine.

    Raises:
        UsageError: where none answers.
    """
    import docker
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    try:
        client = docker.from_env(timeout=_ANSWER_SECONDS)
        client.ping()
    except (DockerException, RequestException) as error:
        raise UsageError(
            f"--executor docker: no Docker engine answers: {_cause(error)}",
            hint="`docker version` has to show a server: start it, join the group `docker`, or set "
            "DOCKER_HOST where it listens elsewhere. --executor local needs none.",
        ) from error
    return client


@contextmanager
def engine_errors(doing: str) -> Iterator[None]:
    """Turn what the client raises into an error of ours.

    Raises:
        EngineError: where the engine refuses, or does not answer any more.
    """
    from docker.errors import APIError, DockerException
    from requests.exceptions import RequestException

    try:
        yield
    except APIError as error:
        raise EngineError(f"Docker cannot {doing}: {error.explanation or error}") from error
    except (DockerException, RequestException) as error:
        raise EngineError(
            f"the Docker engine went away (cannot {doing}): {_cause(error)}",
            hint="Start it again, then run the same command: finished cells are kept.",
        ) from error


def default_image(*, gpu: bool) -> str:
    """The image of this release."""
    return str(read_json(_IMAGES)["cuda" if gpu else "cpu"])


def check_image(client: DockerClient, name: str) -> str:
    """Look for an image before anything is downloaded.

    Returns:
        Its name with its digest.

    Raises:
        UsageError: where the engine does not have it, with the command that brings it.
    """
    from docker.errors import APIError, ImageNotFound

    try:
        image = client.images.get(name)
    except ImageNotFound as error:
        raise UsageError(
            f"--image: the Docker engine has no image {name}", hint=f"Run: {how_to_get(name)}"
        ) from error
    except APIError as error:
        raise UsageError(f"--image: {name}: {error.explanation or error}") from error
    return pinned_image(name, image.attrs.get("RepoDigests") or (), str(image.id))


def pinned_image(name: str, digests: Iterable[str], image_id: str) -> str:
    """An image's name with the digest that a registry knows it by; of one that was built here with its id.

    Args:
        digests: of the image, each after the name of its repository.
    """
    repository = name.partition("@")[0]
    # A colon before a slash is a port's, not a tag's.
    if ":" in repository.rpartition("/")[2]:
        repository = repository.rpartition(":")[0]
    found = (digest for digest in digests if f"/{digest}".partition("@")[0].endswith(f"/{repository}"))
    return next(found, f"{name} ({image_id})")


def how_to_get(image: str) -> str:
    """The command that brings an image: what has no registry in its name is built from a checkout."""
    if "/" in image:
        return f"docker pull {image}"
    file = "Dockerfile.cuda" if image == default_image(gpu=True) else "Dockerfile"
    return f"docker build --file {file} --tag {image} ., in a checkout of this project"


def has_gpus(client: DockerClient) -> bool:
    """Whether the engine can hand GPUs to containers."""
    with engine_errors("say what it has"):
        return "nvidia" in client.info().get("Runtimes", {})


def host_memory(client: DockerClient) -> int:
    """Bytes of memory of the machine that the engine runs on."""
    with engine_errors("say what it has"):
        return int(client.info()["MemTotal"])


def container_memory(machine: int) -> int:
    """Bytes that a container without --memory may take of a machine's."""
    return int(machine * (1 - _HOST_RESERVE))


def process_identity(pid: int) -> str:
    """Names a process so that no later one is mistaken for it: machine and boot, pid, start."""
    boot = _read(Path("/proc/sys/kernel/random/boot_id"))
    # The 22nd field; the second, the name in parentheses, may hold spaces.
    fields = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    started = fields[19] if len(fields) > 19 else ""
    return f"{platform.node()}/{boot}/{pid}/{started}"


def is_leftover(owner: str) -> bool:
    """Whether the process that a container's label names is gone for certain: of this machine, and ended."""
    machine, _, rest = owner.rpartition("/")[0].rpartition("/")
    if not rest.isdecimal():
        return False
    here = process_identity(os.getpid()).rpartition("/")[0].rpartition("/")[0]
    return machine == here and not (_is_alive(int(rest)) and process_identity(int(rest)) == owner)


def remove_leftovers(client: DockerClient) -> list[str]:
    """Remove the containers of runs that ended without doing so.

    Returns:
        Their names.
    """
    with engine_errors("list containers"):
        found: list[dict[str, Any]] = client.api.containers(all=True, filters={"label": OWNER_LABEL})
    left = [entry for entry in found if is_leftover(entry["Labels"][OWNER_LABEL])]
    for entry in left:
        remove(client, entry["Id"])
    return [str(entry["Names"][0]).removeprefix("/") for entry in left if entry.get("Names")]


def remove(client: DockerClient, name: str) -> None:
    """End a container at once and remove it; nothing where it is gone.

    Raises:
        EngineError: where the engine does not do it.
    """
    from docker.errors import NotFound

    with engine_errors("remove a container"):
        try:
            client.api.remove_container(name, force=True, v=True)
        except NotFound:
            return


def _cause(error: BaseException) -> str:
    """The innermost reason: the client wraps errors of its libraries, each quoting the next."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        # Not Linux, or gone.
        return ""
