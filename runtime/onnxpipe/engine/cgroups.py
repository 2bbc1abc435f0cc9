"""The control groups of Linux that limit this process: what a container is granted.

Source: Linux documentation, admin-guide/cgroup-v2 and admin-guide/cgroup-v1.
"""

from __future__ import annotations

from pathlib import Path

#: The file that names the process's groups.
OWN_CGROUPS = Path("/proc/self/cgroup")
#: Where the groups are mounted.
CGROUP_ROOT = Path("/sys/fs/cgroup")


def group_folders(controller: str, own: Path = OWN_CGROUPS, root: Path = CGROUP_ROOT) -> list[Path]:
    """List the folders of the groups that limit this process, from its own up to the root; empty without groups.

    Args:
        controller: of version 1, such as "cpu" or "memory"; version 2 has one tree for all controllers.
        own: see `OWN_CGROUPS`.
        root: see `CGROUP_ROOT`.
    """
    folders: list[Path] = []
    for line in read_text(own).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if not controllers:  # version 2
            folders += _upwards(root, group)
        elif controller in controllers.split(","):
            for mount in dict.fromkeys((root / controllers, root / controller)):
                folders += _upwards(mount, group)
    return folders


def read_text(path: Path) -> str:
    """Read a small file; "" where it cannot be read."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _upwards(root: Path, group: str) -> list[Path]:
    """The group's folder and all above it. In a container the group's path is often not visible; then the root is."""
    folder = root.joinpath(*(part for part in group.split("/") if part not in ("", "..")))
    folders = [folder, *folder.parents]
    return folders[: folders.index(root) + 1]
