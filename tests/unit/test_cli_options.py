"""Docker's command lines: how flags are read, and what is said about wrong ones."""

from __future__ import annotations

import pytest

from groundplane.cli.options import ArgumentError, Command, FlagError, Parsed, flag, many, number, text

COMMAND = Command(
    "try",
    "[OPTIONS] NAME [ARG...]",
    "Try things",
    (
        flag("interactive", "i", "Input"),
        flag("tty", "t", "Terminal"),
        many("env", "e", "", "Variables"),
        text("name", "", "string", "A name", "default-name"),
        number("time", "", "Seconds"),
    ),
    minimum=1,
    interspersed=False,
    aliases={"called": "name"},
)


def parse(*words: str, command: Command = COMMAND) -> Parsed:
    found = command.parse(list(words))
    assert found is not None
    return found


def test_every_form_of_a_flag() -> None:
    found = parse("-it", "-eA=1", "-e", "B=2", "--env=C=3", "--env", "D", "--name", "x", "--time=5", "word")
    assert found.on("interactive") and found.on("tty")
    assert found.many("env") == ["A=1", "B=2", "C=3", "D"]
    assert (found.text("name"), found.number("time"), found.words) == ("x", 5, ["word"])


def test_defaults() -> None:
    found = parse("word")
    assert (found.text("name"), found.number("time"), found.many("env")) == ("default-name", None, [])
    assert found.given == set()


def test_flags_end_at_the_first_word() -> None:
    assert parse("image", "-it", "--nonsense").words == ["image", "-it", "--nonsense"]
    assert parse("--", "-it").words == ["-it"]
    mixed = Command("mixed", "", "", COMMAND.options)
    assert parse("a", "-i", "b", command=mixed).words == ["a", "b"]
    assert parse("-", command=mixed).words == ["-"]


def test_flags_can_be_denied() -> None:
    assert not parse("--tty=false", "x").on("tty")
    assert parse("--tty=true", "x").on("tty")
    assert not parse("-t=0", "x").on("tty")


def test_aliases() -> None:
    assert parse("--called", "x", "word").text("name") == "x"


def test_lists_are_not_shared() -> None:
    parse("-e", "A", "x")
    assert parse("x").many("env") == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--nope"], "unknown flag: --nope"),
        (["-x"], "unknown shorthand flag: 'x' in -x"),
        (["-ix"], "unknown shorthand flag: 'x' in -ix"),
        (["--name"], "flag needs an argument: --name"),
        (["-e"], "flag needs an argument: 'e' in -e"),
        (["--tty=maybe", "x"], 'invalid argument "maybe" for "--tty" flag'),
        (["--time", "soon", "x"], 'invalid argument "soon" for "--time" flag'),
    ],
)
def test_wrong_flags_are_125(words: list[str], sentence: str) -> None:
    with pytest.raises(FlagError) as caught:
        COMMAND.parse(words)
    assert sentence in str(caught.value) and caught.value.exit_code == 125
    assert "Run 'ground try --help' for more information" in str(caught.value)


@pytest.mark.parametrize(
    ("minimum", "maximum", "words", "sentence"),
    [
        (1, None, [], "'ground n' requires at least 1 argument"),
        (2, None, ["a"], "'ground n' requires at least 2 arguments"),
        (1, 1, [], "'ground n' requires 1 argument"),
        (1, 1, ["a", "b"], "'ground n' requires 1 argument"),
        (0, 1, ["a", "b"], "'ground n' requires at most 1 argument"),
        (0, 0, ["a"], "'ground n' accepts no arguments"),
    ],
)
def test_wrong_numbers_of_words(minimum: int, maximum: int | None, words: list[str], sentence: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        Command("n", "", "", (), minimum, maximum).parse(words)
    assert sentence in str(caught.value) and caught.value.exit_code == 1


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert COMMAND.parse(["--help"]) is None
    out = capsys.readouterr().out
    assert out.startswith("\nUsage:  ground try [OPTIONS] NAME [ARG...]\n\nTry things\n\nOptions:\n")
    assert '      --name string   A name (default "default-name")' in out
    assert "  -e, --env list" in out
