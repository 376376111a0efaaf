"""The place of a process among those of its run, as Lightning asks for it."""

from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment

from training.processes.launcher import Place


class PlacedEnvironment(ClusterEnvironment):
    """A place as Lightning asks for it: its processes are there, and nothing is looked up in the environment."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        return self.place.address

    @property
    def main_port(self) -> int:
        return self.place.port

    @staticmethod
    def detect() -> bool:
        return False  # it is always named

    def world_size(self) -> int:
        return self.place.size

    def set_world_size(self, size: int) -> None:
        """It is what it is."""

    def global_rank(self) -> int:
        return self.place.rank

    def set_global_rank(self, rank: int) -> None:
        """It is what it is."""

    def local_rank(self) -> int:
        return self.place.local_rank

    def node_rank(self) -> int:
        return self.place.node
