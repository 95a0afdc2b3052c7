"""A group of subcommands of which one goes unnamed: ``air view runs`` is ``air view show runs``."""

from typing import Any

from typer.core import TyperGroup


def default_command(name: str) -> type[TyperGroup]:
    """The class of a group that puts ``name`` before whatever names no subcommand.

    ``typer.Typer(cls=default_command("show"))``; asking for ``--help`` shows the group's.
    """

    class WithDefault(TyperGroup):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            if not (args and (args[0] in self.commands or args[0] == "--help")):
                args = [name, *args]
            return super().parse_args(ctx, args)

    return WithDefault
