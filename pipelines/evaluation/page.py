"""Pages that need nothing but themselves."""

from importlib.resources import files

from jinja2 import Environment, StrictUndefined


def make_environment() -> Environment:
    """What fills templates of pages; they find the style that all pages share as ``style``."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    style = files("pipelines.evaluation").joinpath("page.css").read_text(encoding="utf-8")
    environment.globals["style"] = style
    return environment
