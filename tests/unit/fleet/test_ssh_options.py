"""Options for ssh, as Ansible's inventories hold them: the way to a host, or that it is lost."""

from __future__ import annotations

import pytest

from orchestrator.discovery.ssh_options import SshOptions, options_for_ssh


@pytest.mark.parametrize(
    ("text", "gateway", "rest"),
    [
        ("-J a@x,b@y:2222", "a@x,b@y:2222", ""),
        ("-Ja@x", "a@x", ""),
        ("-qJ a@x", "a@x", "-q"),
        ("-J 'a@x, b@y'", "a@x,b@y", ""),
        ("-J bastion", "ssh://bastion", ""),
        ("-J bastion,inner", "bastion,inner", ""),
        ("-o ProxyJump=a@[fd00::1]:22", "a@[fd00::1]:22", ""),
        ("-oProxyJump=a@x", "a@x", ""),
        ("-o 'ProxyJump a@x' -o ServerAliveInterval=30", "a@x", "-o ServerAliveInterval=30"),
        ("-o proxyjump=none", None, ""),
        ("-o ProxyCommand=none", None, ""),
        ("-J a@x -o ProxyJump=b@y", "a@x", ""),
        ('-o ProxyCommand="ssh -W %h:%p a@x"', "a@x", ""),
        ('-o ProxyCommand="ssh -W [%h]:%p -p 2222 x"', "x:2222", ""),
        ('-o ProxyCommand="exec /usr/bin/ssh -qW %h:%p -l a x"', "a@x", ""),
        ('-o ProxyCommand="ssh -J e@f a@x -W %h:%p"', "e@f,a@x", ""),
        ('-o ProxyCommand="ssh -q a@x nc -w 5 %h %p"', "a@x", ""),
        ('-o ProxyCommand="ssh x -W %h:%p"', "ssh://x", ""),
        ("-o StrictHostKeyChecking=no -A", None, "-o StrictHostKeyChecking=no -A"),
        ("", None, ""),
    ],
)
def test_jump_hosts_however_they_are_written(text: str, gateway: str | None, rest: str) -> None:
    assert options_for_ssh(text) == SshOptions(gateway=gateway, rest=rest)


def test_what_a_jump_hosts_own_options_say_is_told() -> None:
    text = "-o ProxyCommand='ssh -q -W %h:%p a@x -i ~/.ssh/k -o Port=3'"
    found = options_for_ssh(text)
    assert (found.gateway, found.rest_of_jump) == ("a@x", "-i '~/.ssh/k' -o Port=3")


@pytest.mark.parametrize(
    "command",
    [
        "nc -X 5 -x proxy.example.org:1080 %h %p",
        "ssh -W other:22 x",
        "ssh x",
        "ssh x socat - TCP:%h:%p",
        "ssh -F other_config -W %h:%p x",
        "ssh -o 'ProxyCommand nc y 22' -W %h:%p x",
        "aws ssm start-session --target %h",
    ],
)
def test_a_command_that_no_inventory_can_hold_stays_whole(command: str) -> None:
    found = options_for_ssh(f'-o ProxyCommand="{command}"')
    assert (found.gateway, found.proxy_command) == (None, command)


def test_a_quotation_without_its_end_is_no_way() -> None:
    text = "-o 'ProxyJump a@x"
    assert options_for_ssh(text) == SshOptions(proxy_command=text, rest=text)
