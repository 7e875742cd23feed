"""The agent's command line: ``python3 -I AGENT.pyz COMMAND``. Where the archive carries a bundle,
``python3 BUNDLE.pyz`` without a command runs it. Errors go to stderr, exit code 2; 3 another agent
runs, 4 the bytes are not those promised, 5 no space, 75 try again later."""

# ruff: noqa: PLC0415 (each command loads what it needs: the measuring child, not the daemon)

from __future__ import annotations

import argparse
import re
import sys
from importlib import import_module
from typing import Callable, Dict, List, Optional, Tuple

from orchestrate_agent import home
from orchestrate_agent.children import CHILDREN
from orchestrate_agent.errors import AgentError

LOG_TAIL_BYTES = 256 * 1024


def main(argv: Optional[List[str]] = None) -> int:
    """Run one command; returns the exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    if arguments and arguments[0] in CHILDREN:
        # The measuring child: it runs in the device's own Python and has options of its own.
        child = import_module(f"orchestrate_agent.children.{arguments[0]}")
        code: int = child.main(arguments[1:])
        return code
    if arguments[:1] == ["adb-trial"]:
        from orchestrate_agent.android import trial as adb_trial

        return adb_trial.main(arguments[1:])
    try:
        if not arguments or arguments[0].startswith("-"):
            from orchestrate_agent.carried import bundle

            document = bundle.load()
            if document is not None:
                from orchestrate_agent.carried import standalone

                return standalone.main(arguments, document)
        options = _parser().parse_args(arguments)
        return _COMMANDS[options.command](options)
    except AgentError as exc:
        home.print_error(str(exc))
        return exc.exit_code


def _serve(options: argparse.Namespace) -> int:
    from orchestrate_agent.daemon import daemon

    return daemon.serve(options.home, options.idle_s, options.root, options.adb)


def _attach(options: argparse.Namespace) -> int:
    from orchestrate_agent.daemon import relay

    return relay.attach(
        options.home, options.idle_s, options.adb, options.answer_s, replace=options.replace
    )


def _ask(options: argparse.Namespace) -> int:
    from orchestrate_agent.daemon import relay

    return relay.ask(options.home)


def _put(options: argparse.Namespace) -> int:
    from orchestrate_agent.android import blobs as adb_blobs
    from orchestrate_agent.android.adb import Adb
    from orchestrate_agent.files import blobs

    home.enter(options.home)
    for sha256, size in options.blobs:
        if options.adb is None:
            done = blobs.put(sha256, size, sys.stdin.buffer)
        else:
            done = adb_blobs.put(Adb(options.adb), sha256, size, sys.stdin.buffer)
        print(done, flush=True)
    return 0


def _unpack(options: argparse.Namespace) -> int:
    from orchestrate_agent.files import sites

    print(sites.unpack(home.enter(options.home), options.sha256))
    return 0


def _facts(_: argparse.Namespace) -> int:
    import json

    from orchestrate_agent.machine import facts

    print(json.dumps(facts.collect()))
    return 0


def _survey(options: argparse.Namespace) -> int:
    import json

    from orchestrate_agent.android import node as adb_node
    from orchestrate_agent.machine import survey

    path = home.enter(options.home)
    if options.adb is None:
        print(json.dumps(survey.collect(path)))
    else:
        print(json.dumps(adb_node.AdbNode(options.adb, home.identity()[1]).survey()))
    return 0


def _logs(options: argparse.Namespace) -> int:
    home.enter(options.home)
    sys.stdout.write(home.read_log(LOG_TAIL_BYTES))
    return 0


_COMMANDS: Dict[str, Callable[[argparse.Namespace], int]] = {
    "serve": _serve,
    "attach": _attach,
    "ask": _ask,
    "put": _put,
    "unpack": _unpack,
    "facts": _facts,
    "survey": _survey,
    "logs": _logs,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="agent", description="The per-node agent of orchestrate.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    serve = _command(commands, "serve", "start the daemon in the background")
    attach = _command(commands, "attach", "relay stdio to the daemon, starting it where needed")
    for command in (serve, attach):
        command.add_argument(
            "--idle-s",
            type=_positive,
            default=30 * 60.0,
            metavar="SECONDS",
            help="the daemon ends after so long without trials and connections (default 1800)",
        )
    attach.add_argument(
        "--answer-s",
        type=_positive,
        default=10.0,
        metavar="SECONDS",
        help="a daemon that says nothing for so long does not answer (default 10)",
    )
    attach.add_argument(
        "--replace", action="store_true", help="end a daemon that does not answer, start another"
    )
    serve.add_argument(
        "--root", default="/", metavar="DIR", help="where /proc and /sys are (default /)"
    )
    _command(commands, "ask", "pass one request on stdin to the daemon, if one runs")
    put = _command(commands, "put", "store files that come in on stdin, one after the other")
    put.add_argument("blobs", metavar="SHA256:SIZE", type=_blob, nargs="+", help="size in bytes")
    unpack = _command(commands, "unpack", "make a stored site bundle ready for trials")
    unpack.add_argument("sha256", metavar="SHA256", type=_sha256)
    _command(commands, "facts", "say what this node is, as JSON")
    _command(commands, "survey", "say what is left here and who else uses it, as JSON")
    _command(commands, "logs", "the end of what the daemon logged")
    for name, text in CHILDREN.items():
        commands.add_parser(name, help=f"{text} (see {name} --help)")
    return parser


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=text, description=text)
    command.add_argument(
        "--home", default=home.DEFAULT, metavar="DIR", help=f"default {home.DEFAULT}"
    )
    command.add_argument(
        "--adb", metavar="SERIAL", help="speak for this Android device, not for this machine"
    )
    return command


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < 10**9:
        raise argparse.ArgumentTypeError("must be above 0")
    return value


def _sha256(text: str) -> str:
    from orchestrate_agent.protocol import is_sha256

    if not is_sha256(text):
        raise argparse.ArgumentTypeError("must be 64 lower-case hexadecimal digits")
    return text


def _blob(text: str) -> Tuple[str, int]:
    from orchestrate_agent.protocol import is_sha256

    sha256, _, size = text.partition(":")
    if not is_sha256(sha256) or not re.match(r"\A[0-9]{1,18}\Z", size):
        raise argparse.ArgumentTypeError("must be 64 lower-case hexadecimal digits, `:`, and bytes")
    return sha256, int(size)


if __name__ == "__main__":
    sys.exit(main())
