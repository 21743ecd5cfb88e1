"""GLOM for sslkit (Hinton 2021): a backbone, a way to train it, and islands as evidence."""

from collections.abc import Callable, Mapping

from sslkit import Backbone, Evaluator, Method, hookimpl

SSLKIT_API = "1"


@hookimpl
def sslkit_backbones() -> Mapping[str, Callable[..., Backbone]]:
    from sslkit_glom.backbone import Glom

    return {"glom": Glom}


@hookimpl
def sslkit_methods() -> Mapping[str, type[Method]]:
    from sslkit_glom.filling import FillingIn

    return {"glom": FillingIn}


@hookimpl
def sslkit_evaluators() -> Mapping[str, type[Evaluator]]:
    from sslkit_glom.evaluator import Islands

    return {"islands": Islands}
