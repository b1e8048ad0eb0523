"""Executes the templates of the operator's chart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from daskjob.submit.installing.template_functions import FUNCTIONS, text_of
from daskjob.submit.installing.template_syntax import (
    Assignment,
    Block,
    Function,
    Literal,
    Node,
    Operand,
    Output,
    Path,
    Pipeline,
    Text,
    Unsupported,
    parse,
)


@dataclass
class Scope:
    """The dot, and the variables of a block and of those around it."""

    dot: Any
    variables: dict[str, Any]
    outer: Scope | None = None

    def inside(self, dot: Any) -> Scope:
        """Return the scope of a block in this one."""
        return Scope(dot, {}, self)

    def owner(self, name: str) -> Scope:
        """Return the scope that has a variable."""
        if name in self.variables:
            return self
        if self.outer is None:
            raise Unsupported(f"variable ${name} is not declared")
        return self.outer.owner(name)


@dataclass
class Templates:
    """The templates of a chart, which include each other by name."""

    _named: dict[str, list[Node]] = field(default_factory=dict)

    def add(self, source: str) -> list[Node]:
        """Read a file, add the templates that it defines, and return the rest of it."""
        rest: list[Node] = []
        for node in parse(source):
            if isinstance(node, Block) and node.keyword == "define":
                self._named[node.name] = node.body
            else:
                rest.append(node)
        return rest

    def render(self, nodes: list[Node], context: Any) -> str:
        """Return what a template prints with this as its dot.

        Raises
        ------
        NotRendered
            It calls ``fail``.
        """
        return "".join(self._printed(nodes, Scope(context, {"": context})))

    def _printed(self, nodes: list[Node], scope: Scope) -> Iterator[str]:
        for node in nodes:
            match node:
                case Text():
                    yield node.text
                case Output():
                    yield text_of(self._value(node.pipeline, scope))
                case Assignment():
                    owner = scope if node.declares else scope.owner(node.variable)
                    owner.variables[node.variable] = self._value(node.pipeline, scope)
                case Block():
                    yield from self._block(node, scope)

    def _block(self, block: Block, scope: Scope) -> Iterator[str]:
        if block.pipeline is None:
            raise Unsupported(f"{block.keyword} inside of another block")
        value = self._value(block.pipeline, scope)
        if not value:
            yield from self._printed(block.otherwise, scope.inside(scope.dot))
        elif block.keyword == "range":
            if not isinstance(value, list):
                raise Unsupported("range over something other than a list")
            for item in value:
                yield from self._printed(block.body, scope.inside(item))
        else:
            dot = value if block.keyword == "with" else scope.dot
            yield from self._printed(block.body, scope.inside(dot))

    def _value(self, pipeline: Pipeline, scope: Scope) -> Any:
        piped: tuple[Any, ...] = ()
        for command in pipeline.commands:
            piped = (self._result(command, piped, scope),)
        return piped[0]

    def _result(self, command: tuple[Operand, ...], piped: tuple[Any, ...], scope: Scope) -> Any:
        first, *others = command
        if isinstance(first, Function) and first.name in ("and", "or"):
            return self._first_deciding(first.name, others, scope)
        arguments = [self._operand(other, scope) for other in others] + list(piped)
        if not isinstance(first, Function):
            value = self._operand(first, scope)
            return value(*arguments) if callable(value) else value
        if first.name == "include":
            name, context = arguments
            return self.render(self._named[name], context)
        if first.name not in FUNCTIONS:
            raise Unsupported(f"function {first.name}")
        return FUNCTIONS[first.name](*arguments)

    def _first_deciding(self, name: str, operands: list[Operand], scope: Scope) -> Any:
        """Return the first operand that decides, without the value of any after it."""
        value: Any = None
        for operand in operands:
            value = self._operand(operand, scope)
            if bool(value) == (name == "or"):
                break
        return value

    def _operand(self, operand: Operand, scope: Scope) -> Any:
        match operand:
            case Literal():
                return operand.value
            case Pipeline():
                return self._value(operand, scope)
            case Function():
                return self._result((operand,), (), scope)
            case Path(variable, fields):
                value = scope.dot
                if variable is not None:
                    value = scope.owner(variable).variables[variable]
                for name in fields:
                    if not isinstance(value, Mapping):
                        raise Unsupported(f".{name} of something that has no fields")
                    value = value.get(name)
                return value
