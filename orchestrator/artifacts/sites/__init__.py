"""Python site bundles: the packages of one runtime for one kind of node, as one file to push.

``target`` says what a node can load, ``resolve`` has pip choose and unpack the wheels for it,
``store`` packs them and finds them again.
"""

from orchestrator.artifacts.sites.resolve import Package
from orchestrator.artifacts.sites.store import SiteArtifact, known_sizes, provide_site, stored_site
from orchestrator.artifacts.sites.target import STATED, SiteTarget, stated_facts, target_of

__all__ = [
    "STATED",
    "Package",
    "SiteArtifact",
    "SiteTarget",
    "known_sizes",
    "provide_site",
    "stated_facts",
    "stored_site",
    "target_of",
]
