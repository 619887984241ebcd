"""The API without HTTP: store, table of kinds, registry and the controllers built in, wired up."""

from .crds import Definitions
from .deletion import Deletion
from .garbage import GarbageCollector
from .journal import Journal
from .kinds import Kinds
from .listing import Lister
from .namespaces import Namespaces
from .registry import Registry
from .storage import Store


class Cluster:
    """Everything one API server serves. Needs a running event loop."""

    def __init__(self) -> None:
        self.store = Store()
        self.kinds = Kinds()
        self.registry = Registry(self.store, self.kinds)
        self.lister = Lister(self.store)
        self.deletion = Deletion(self.registry)
        self.garbage = GarbageCollector(self.registry, self.deletion)
        self.namespaces = Namespaces(self.registry)
        self.definitions = Definitions(self.registry, self.deletion)

    def start(self, journal: Journal | None = None) -> None:
        """Bring back what the journal kept, or create what a new cluster holds; from then on keep every write."""
        is_new = journal is None or not journal.restore(self.store)
        if journal is not None:
            journal.follow(self.store)
        if is_new:
            self.namespaces.start()
