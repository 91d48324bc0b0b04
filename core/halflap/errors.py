"""Every error that Halflap raises, and the one form in which it speaks.

    HalflapError(Exception)                       code, fix, partial
    ├ UsageError(ValueError)                      the caller's mistake                CLI 2, HTTP 400
    │ ├ InvalidRequestError                       field
    │ ├ ContextOverflowError                      n_prompt, n_ctx
    │ ├ ConstraintError                           field
    │ ├ TemplateError
    │ ├ PlanError                                 device, missing (bytes), char (position in the option)
    │ └ NotRegisteredError(LookupError)           kind, name, did_you_mean, failed
    ├ ModelError                                  the file's fault                    CLI 1, HTTP 4xx on load
    │ ├ ModelNotFoundError(FileNotFoundError)
    │ ├ ModelFormatError(ValueError)              file, offset, field
    │ └ UnsupportedModelError(NotImplementedError)  what_kind, name
    │   └ UnsupportedOpError                      op, dtype, device
    ├ PluginError                                 plugin, distribution; the cause is kept
    │ ├ IncompatiblePluginError                   needs, has
    │ └ SamplerError                              fails its request only
    ├ DeviceError(RuntimeError)                   device, status, detail
    │ ├ DeviceMemoryError(MemoryError)            wanted, free
    │ └ DeviceLostError(ConnectionError)
    └ EngineError
      ├ BusyError                                 retry_after
      ├ RequestTimeoutError(TimeoutError)
      └ ModelClosedError

A message reads `what: got X, want Y`, then the mend: the constructor takes these parts, so no error can lack one.
`code` is one word per class: the anchor in docs/errors.md, and what the server and the shell map from.
"""

from __future__ import annotations

from typing import Any, ClassVar

__all__ = [
    "BusyError",
    "ConstraintError",
    "ContextOverflowError",
    "DeviceError",
    "DeviceLostError",
    "DeviceMemoryError",
    "EngineError",
    "HalflapError",
    "IncompatiblePluginError",
    "InvalidRequestError",
    "ModelClosedError",
    "ModelError",
    "ModelFormatError",
    "ModelNotFoundError",
    "NotRegisteredError",
    "PlanError",
    "PluginError",
    "RequestTimeoutError",
    "SamplerError",
    "TemplateError",
    "UnsupportedModelError",
    "UnsupportedOpError",
    "UsageError",
]


class HalflapError(Exception):
    """Base of all errors.

    Args:
        what: the thing that is wrong, in a few words ("option", "tensor 'blk.0.attn_q.weight' offset").
        got: what was found.
        want: what would have been right.
        fix: one sentence that mends it, if there is one.
        partial: the Completion so far, when a running request failed.
        facts: the fields that the class lists in `facts`; those not given are None.
    """

    code: ClassVar[str] = "error"
    facts: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self, what: str, *, got: object, want: object, fix: str | None = None, partial: Any = None, **facts: Any
    ) -> None:
        unknown = facts.keys() - set(self.facts)
        if unknown:
            raise TypeError(f"{type(self).__name__}: got facts {sorted(unknown)}, want a subset of {self.facts}")
        super().__init__(what)
        self.what, self.got, self.want, self.fix, self.partial = what, str(got), str(want), fix, partial
        for name in self.facts:
            setattr(self, name, facts.get(name))

    def __str__(self) -> str:
        text = f"{self.what}: got {self.got}, want {self.want}"
        return f"{text}. {self.fix}" if self.fix else text

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.__dict__)

    def to_dict(self) -> dict[str, Any]:
        """What `--json` and the server show."""
        shown = {name: getattr(self, name) for name in self.facts if getattr(self, name) is not None}
        return {"code": self.code, "message": str(self), "fix": self.fix, **shown}


def _restore(cls: type[HalflapError], state: dict[str, Any]) -> HalflapError:
    error = cls(state["what"], got=state["got"], want=state["want"])
    error.__dict__.update(state)
    return error


class UsageError(HalflapError, ValueError):
    """The caller's mistake."""

    code = "usage"


class InvalidRequestError(UsageError):
    """A request's option or message cannot be used; `field` names it."""

    code = "invalid_request"
    facts = ("field",)
    field: str | None


class ContextOverflowError(UsageError):
    """Prompt and answer do not fit the context."""

    code = "context_overflow"
    facts = ("n_prompt", "n_ctx")
    n_prompt: int | None
    n_ctx: int | None


class ConstraintError(UsageError):
    """A schema, regular expression or grammar cannot be compiled, or an answer cannot go on under it."""

    code = "constraint"
    facts = ("field",)
    field: str | None


class TemplateError(UsageError):
    """A chat template is malformed, exceeds its limits, or refuses these messages."""

    code = "template"


class PlanError(UsageError):
    """No placement satisfies the wishes, or a wish cannot be read."""

    code = "plan"
    facts = ("device", "missing", "char")
    device: str | None
    missing: int | None
    char: int | None


class NotRegisteredError(UsageError, LookupError):
    """No plugin offers this name."""

    code = "not_registered"
    facts = ("kind", "name", "did_you_mean", "failed")
    kind: str | None
    name: str | None
    did_you_mean: str | None
    failed: str | None


class ModelError(HalflapError):
    """The model file's fault."""

    code = "model"


class ModelNotFoundError(ModelError, FileNotFoundError):
    """No such model file or registered model."""

    code = "model_not_found"


class ModelFormatError(ModelError, ValueError):
    """The file is damaged, cut or hostile."""

    code = "model_format"
    facts = ("file", "offset", "field")
    file: str | None
    offset: int | None
    field: str | None


class UnsupportedModelError(ModelError, NotImplementedError):
    """The file is sound, but names something that nothing here provides."""

    code = "unsupported_model"
    facts: ClassVar[tuple[str, ...]] = ("what_kind", "name")
    what_kind: str | None
    name: str | None


class UnsupportedOpError(UnsupportedModelError):
    """No device of the plan runs this op with this type."""

    code = "unsupported_op"
    facts = ("op", "dtype", "device")
    op: str | None
    dtype: str | None
    device: str | None


class PluginError(HalflapError):
    """A plugin failed to load or broke its contract."""

    code = "plugin"
    facts: ClassVar[tuple[str, ...]] = ("plugin", "distribution")
    plugin: str | None
    distribution: str | None


class IncompatiblePluginError(PluginError):
    """A plugin was built for another version of Halflap."""

    code = "incompatible_plugin"
    facts = ("plugin", "distribution", "needs", "has")
    needs: str | None
    has: str | None


class SamplerError(PluginError):
    """A sampler raised; only its request fails."""

    code = "sampler"


class DeviceError(HalflapError, RuntimeError):
    """A device reported a failure."""

    code = "device"
    facts: ClassVar[tuple[str, ...]] = ("device", "status", "detail")
    device: str | None
    status: str | None
    detail: str | None


class DeviceMemoryError(DeviceError, MemoryError):
    """A device has too little memory."""

    code = "device_memory"
    facts = ("device", "status", "detail", "wanted", "free")
    wanted: int | None
    free: int | None


class DeviceLostError(DeviceError, ConnectionError):
    """A device died; the host lives on."""

    code = "device_lost"


class EngineError(HalflapError):
    """The engine could not take or finish a request."""

    code = "engine"


class BusyError(EngineError):
    """The queue is full; try again after `retry_after` seconds."""

    code = "busy"
    facts = ("retry_after",)
    retry_after: float | None


class RequestTimeoutError(EngineError, TimeoutError):
    """The request's own deadline passed."""

    code = "request_timeout"


class ModelClosedError(EngineError):
    """The model was closed, or belongs to the process before a fork."""

    code = "model_closed"
