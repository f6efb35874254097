"""`proxycore completion`: lets a shell complete commands, options and their values."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from proxycore.program import exits

EXAMPLES = """\
examples:
  proxycore completion bash > ~/.local/share/bash-completion/completions/proxycore
  proxycore completion zsh > "${fpath[1]}/_proxycore"
  proxycore completion fish > ~/.config/fish/completions/proxycore.fish
"""

_BASH = """\
_proxycore() {{
  local command="${{COMP_WORDS[1]}}" word="${{COMP_WORDS[COMP_CWORD]}}" words=
  if [ "$COMP_CWORD" -eq 1 ]; then
    words='{commands}'
  else
    case "$command $3" in
{values}
    *) case "$command" in
{options}
      esac ;;
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _proxycore proxycore
"""

_ZSH = """\
#compdef proxycore
autoload -U +X bashcompinit && bashcompinit
{bash}
# From fpath, zsh runs this file when it is asked for the first time: that must be answered too.
(( ${{+compstate}} )) && _bash_complete -o default -F _proxycore
"""


def add_parser(commands: Any) -> None:
    """Describe the command to argparse."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "completion",
        help="print a script that completes commands in a shell",
        description="Print a script for a shell's completion of commands, options and their values.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=["bash", "zsh", "fish"])
    parser.set_defaults(run=lambda arguments: run(arguments, commands.choices))


def run(arguments: argparse.Namespace, commands: dict[str, argparse.ArgumentParser]) -> int:
    """Do it, and return the exit code."""
    shown = {name: parser for name, parser in commands.items() if parser.description}
    if arguments.shell == "fish":
        print("\n".join(_fish(shown)))
    else:
        bash = _bash(shown)
        print(bash if arguments.shell == "bash" else _ZSH.format(bash=bash), end="")
    return exits.OK


def _options(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    yield from (action for action in parser._actions if action.option_strings)


def _positional_choices(parser: argparse.ArgumentParser) -> list[str]:
    return [str(choice) for action in parser._actions if not action.option_strings for choice in action.choices or ()]


def _bash(commands: dict[str, argparse.ArgumentParser]) -> str:
    values = []
    options = []
    for name, parser in commands.items():
        words = _positional_choices(parser)
        for action in _options(parser):
            words += action.option_strings
            if action.choices:
                pattern = "|".join(f"'{name} {option}'" for option in action.option_strings)
                values.append(f"    {pattern}) words='{' '.join(map(str, action.choices))}' ;;")
            elif action.nargs != 0:
                pattern = "|".join(f"'{name} {option}'" for option in action.option_strings)
                values.append(f"    {pattern}) ;;")
        options.append(f"      {name}) words='{' '.join(words)}' ;;")
    return _BASH.format(commands=" ".join(commands), values="\n".join(values), options="\n".join(options))


def _fish(commands: dict[str, argparse.ArgumentParser]) -> Iterator[str]:
    for name, parser in commands.items():
        about = _quoted((parser.description or "").split(". ")[0])
        yield f"complete -c proxycore -n __fish_use_subcommand -f -a {name} -d {about}"
        seen = f"-n '__fish_seen_subcommand_from {name}'"
        for choice in _positional_choices(parser):
            yield f"complete -c proxycore {seen} -f -a {choice}"
        for action in _options(parser):
            names = " ".join(f"-{'l' if o.startswith('--') else 's'} {o.lstrip('-')}" for o in action.option_strings)
            takes = " -r" if action.nargs != 0 else ""
            values = f" -f -a {_quoted(' '.join(map(str, action.choices)))}" if action.choices else ""
            yield f"complete -c proxycore {seen} {names}{takes}{values} -d {_quoted(_help(action))}"


def _help(action: argparse.Action) -> str:
    """As `--help` has it."""
    return (action.help or "") % {"default": action.default}


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
