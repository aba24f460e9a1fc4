"""The model's weights on this machine, fetched when the service is first started."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from app.core.config import Settings, settings_sentence
from app.core.errors import AppError
from app.embedded.layout import PROJECT_ROOT, Layout
from app.embedded.stack import model_cache_dir, settings_environment
from app.embedded.state import State
from app.imaging.errors import EngineUnavailable, ModelUnavailable
from app.imaging.models import MODELS
from app.imaging.weights import FILE_NAME, ensure_model, ensure_weights
from app.shell.display import fetching, say
from app.shell.errors import SettingsProblem


def settings_of(layout: Layout, state: State) -> Settings:
    """The settings that the processes of this data folder will have.

    Raises:
        SettingsProblem: naming each that is wrong.
    """
    members: dict[str, Any] = {name.lower(): value for name, value in settings_environment(layout, state).items()}
    try:
        return Settings(**members)
    except ValidationError as error:
        raise SettingsProblem(settings_sentence(error)) from error


def ensure(cache_dir: Path, model_path: Path | None) -> None:
    """The weights are there and whole when this returns.

    Raises:
        AppError: they cannot be fetched, and what to do.
    """
    if model_path is None and not (cache_dir / FILE_NAME).exists():
        _install_converter()
    try:
        with fetching() as show:
            ensure_weights(cache_dir, model_path, show)
    except ModelUnavailable as error:
        raise AppError(str(error), code=error.code) from error


def ensure_extra(settings: Settings) -> None:
    """Of EXTRA_MODELS what can be had is there when this returns; what cannot is named."""
    for name in settings.extra_models:
        try:
            with fetching() as show:
                ensure_model(settings.model_cache_dir, MODELS[name], show)
        except ModelUnavailable as error:
            say(f"Note: {error}. Tasks that ask for it will fail; everything else works.")


def require_engine(settings: Settings) -> None:
    """The engine that was asked for is on this machine.

    Raises:
        AppError: it is not.
    """
    if settings.engine == "auto":  # takes what is there
        return
    # Here and not above: asking the libraries takes longer than all the rest of the command line.
    from app.imaging.engines.choice import choose  # noqa: PLC0415

    try:
        choose(settings.engine)
    except EngineUnavailable as error:
        raise AppError(f"ENGINE={settings.engine} does not work on this machine: {error}", code=error.code) from error


def _install_converter() -> None:
    """The packages that fetch and convert the model: needed this once, and by nothing that runs."""
    script = PROJECT_ROOT / "scripts" / "bootstrap.sh"
    if subprocess.run([str(script), "requirements-setup.txt"], check=False).returncode:  # noqa: S603
        raise AppError("The packages that fetch the model could not be installed; the lines above say why.")


if __name__ == "__main__":
    # For the tests, which need the model and no settings.
    own = os.environ.get("MODEL_PATH")
    try:
        ensure(model_cache_dir(), Path(own) if own else None)
    except AppError as error:
        sys.exit(f"quickbg: {error}")
