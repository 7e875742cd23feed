"""``orchestrate schema``: what may stand in an inventory or a suite, as JSON Schema."""

from __future__ import annotations

from orchestrator.answer import Answer
from orchestrator.commands.schema import SchemaArguments
from orchestrator.config.schema import schema_text


def answer(arguments: SchemaArguments) -> Answer:
    """Print it, made of the models that read the files."""
    return Answer(schema_text(arguments.of))
