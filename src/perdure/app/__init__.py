"""Authoring: decorators and the registry of functions."""

from perdure.app.decorators import Blueprint, DFApp
from perdure.app.entity_classes import DurableEntity, EntityOperationError
from perdure.app.registry import FunctionDefinitionError

__all__ = ["Blueprint", "DFApp", "DurableEntity", "EntityOperationError", "FunctionDefinitionError"]
