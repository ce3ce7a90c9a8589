"""The command ``device``: whether a model runs on a device, tried once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..running.session import Session, Work


def device(name: str, bundle: str = "default") -> Work:
    """Run a model once on a device; the result is one sentence with the device's name and the seconds."""

    def work(session: Session) -> None:
        session.plan({"start": 5.0, "patch": 1.0})
        session.check("start")
        from ..model.library import load_model
        from ..model.trial import try_device

        loaded = load_model(bundle)
        session.check("patch")
        sentence = try_device(loaded, name)
        session.display.result(sentence, sentence)

    return work
