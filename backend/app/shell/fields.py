"""The options of a removal as a person has typed them, made into the fields that the service is sent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.core.options import Format, RemovalOptions, ResultFormat, read_options
from app.shell.errors import UsageProblem
from app.shell.targets import format_of

NOT_OPTIONS = {"file", "image_url", "s3_key"}


@dataclass(frozen=True)
class Asked:
    """The fields; and the format, which the results are named after. None: the recipe says, or the results."""

    fields: Mapping[str, str]
    format: ResultFormat | None


def read(typed: Mapping[str, str | bool | None], more: Sequence[str], output: str | None) -> Asked:
    """Only what was named: a recipe says the rest, and a service that runs since before an update knows all of it.

    Args:
        typed: what has a switch of its own; None was not given.
        more: `name=value`.
        output: as `--output` has it, which may say the format.

    Raises:
        UsageProblem: something is there twice, or is no option.
        InvalidRequest: a value makes no sense.
    """
    fields = {name: _text(value) for name, value in typed.items() if value is not None}
    for text in more:
        name, equals, value = text.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name:
            raise UsageProblem(f"--option {text}: this is not of the form name=value.")
        if name in NOT_OPTIONS:
            raise UsageProblem(f"--option {name}: this names a picture, and is no option.")
        if name in fields:
            raise UsageProblem(f"--option {name}: this option is there twice.")
        fields[name] = value
    if (format_ := format_of(output, fields.get("format"))) is not None:
        fields["format"] = format_
    return Asked(fields, _judge(fields))


def _text(value: str | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else value


def _judge(fields: Mapping[str, str]) -> ResultFormat | None:
    """What can be said before a service is started; the rest is for the service to judge."""
    if "recipe" in fields:  # whose options go before these are known to the service alone
        return _format(fields["format"]) if "format" in fields else None
    asked = read_options({name: value for name, value in fields.items() if name in RemovalOptions.model_fields})
    return _result(asked.format)


def _format(name: str) -> ResultFormat | None:
    try:
        return _result(Format(name))
    except ValueError as error:
        raise UsageProblem(f"--format {name}: a result is {', '.join(Format)}, and nothing else.") from error


def _result(asked: Format) -> ResultFormat | None:
    return None if asked is Format.AUTO else ResultFormat(asked.value)
