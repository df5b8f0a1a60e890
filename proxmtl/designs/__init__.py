"""Designs: the affine maps from a parameter to the scores of all samples, and their adjoints."""

from proxmtl.designs.base import Design
from proxmtl.designs.centred import CentredDesign
from proxmtl.designs.factored import FactoredDesign
from proxmtl.designs.observed import ObservedDesign
from proxmtl.designs.restricted import RestrictedDesign
from proxmtl.designs.sharded import ShardedDesign
from proxmtl.designs.shared import SharedDesign
from proxmtl.designs.shifted import ShiftedDesign
from proxmtl.designs.streamed import StreamedDesign
from proxmtl.designs.task import TaskDesign

__all__ = [
    "CentredDesign",
    "Design",
    "FactoredDesign",
    "ObservedDesign",
    "RestrictedDesign",
    "ShardedDesign",
    "SharedDesign",
    "ShiftedDesign",
    "StreamedDesign",
    "TaskDesign",
]
