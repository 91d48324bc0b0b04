"""The bodies of requests: their fields, types and bounds, from which the OpenAPI page is made.

What clients send beyond these fields is ignored, as the servers they know do; `null` is the same as absent.
Field names: OpenAI's and Anthropic's API references, llama-server's README.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

Count = Annotated[int, Meta(ge=-2, le=1 << 31)]
Share = Annotated[float, Meta(ge=0, le=1)]
Positive = Annotated[float, Meta(ge=0)]
Seed = Annotated[int, Meta(ge=-1, le=(1 << 63) - 1)]
TopLogprobs = Annotated[int, Meta(ge=0, le=100)]
Answers = Annotated[int, Meta(ge=1, le=64)]
Token = Annotated[int, Meta(ge=0, le=(1 << 31) - 1)]
Prompt = str | list[str | int | list[str | int]]
"""A text, token ids, a mix of both, or a list of such."""


class Lora(Struct, kw_only=True):
    """An adapter by its place among those loaded, and how strongly it works."""

    id: Annotated[int, Meta(ge=0, le=1 << 20)]
    scale: float = 1.0


class Body(Struct, kw_only=True):
    """What every request may say."""

    model: str | None = None
    user: str | None = None


class Sampling(Body, kw_only=True):
    """How tokens are chosen, and what the answer must be: llama-server's names, OpenAI's where they differ."""

    temperature: Annotated[float, Meta(ge=0, le=1e6)] | None = None
    top_k: Annotated[int, Meta(ge=-1, le=1 << 31)] | None = None
    top_p: Share | None = None
    min_p: Share | None = None
    typical_p: Share | None = None
    top_n_sigma: float | None = None
    min_keep: Annotated[int, Meta(ge=0, le=1 << 31)] | None = None
    repeat_penalty: Annotated[float, Meta(gt=0)] | None = None
    repeat_last_n: Annotated[int, Meta(ge=-1, le=1 << 31)] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    dry_multiplier: Positive | None = None
    dry_base: Positive | None = None
    dry_allowed_length: Annotated[int, Meta(ge=0, le=1 << 31)] | None = None
    dry_penalty_last_n: Annotated[int, Meta(ge=-1, le=1 << 31)] | None = None
    dry_sequence_breakers: list[str] | None = None
    xtc_probability: Share | None = None
    xtc_threshold: Share | None = None
    dynatemp_range: Positive | None = None
    dynatemp_exponent: Positive | None = None
    mirostat: Annotated[int, Meta(ge=0, le=2)] | None = None
    mirostat_tau: Positive | None = None
    mirostat_eta: Positive | None = None
    samplers: list[str] | str | None = None
    seed: Seed | None = None
    logit_bias: dict[str, float] | list[list[str | int | float | bool]] | None = None
    ignore_eos: bool | None = None
    stop: str | list[str] | None = None
    json_schema: dict[str, Any] | None = None
    grammar: str | None = None
    regex: str | None = None
    choice: list[str] | None = None
    lora: list[Lora] | None = None
    adapters: dict[str, float] | None = None
    cache_prompt: bool | None = None
    id_slot: Annotated[int, Meta(ge=-1, le=1 << 20)] | None = None
    priority: Annotated[int, Meta(ge=-1000, le=1000)] | None = None
    timeout: Positive | None = None
    overflow: str | None = None
    n_keep: Annotated[int, Meta(ge=-1, le=1 << 31)] | None = None
    stream: bool | None = None
    timings_per_token: bool | None = None
    return_progress: bool | None = None
    n_predict: Count | None = None
    max_tokens: Count | None = None


class StreamOptions(Struct, kw_only=True):
    include_usage: bool | None = None


class Function(Struct, kw_only=True):
    """A tool as the model is told of it; `parameters` is a JSON schema."""

    name: Annotated[str, Meta(min_length=1, max_length=256)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Struct, kw_only=True):
    type: str
    function: Function


class CalledFunction(Struct, kw_only=True):
    name: str
    arguments: str | dict[str, Any] | None = None


class CalledTool(Struct, kw_only=True):
    """A call that the model made in an earlier turn."""

    function: CalledFunction
    id: str | None = None
    type: str | None = None


class Part(Struct, kw_only=True):
    """A piece of a message's content: `text`, `image_url`, or `refusal`."""

    type: str
    text: str | None = None
    image_url: str | dict[str, Any] | None = None
    refusal: str | None = None


class Message(Struct, kw_only=True):
    """A turn of a chat. Further members reach the chat template as they are."""

    role: Annotated[str, Meta(min_length=1, max_length=64)]
    content: str | list[Part] | None = None
    name: str | None = None
    tool_calls: list[CalledTool] | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None


class ResponseFormat(Struct, kw_only=True):
    """`text`, `json_object` (with `schema`, if given), or `json_schema`."""

    type: str
    json_schema: dict[str, Any] | None = None
    schema: dict[str, Any] | None = None


class Thinking(Sampling, kw_only=True):
    """What chats may say of thinking."""

    reasoning: str | None = None
    reasoning_effort: str | None = None
    reasoning_budget: Annotated[int, Meta(ge=-1, le=1 << 31)] | None = None
    reasoning_format: str | None = None
    enable_thinking: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    parse_tool_calls: bool | None = None
    add_generation_prompt: bool | None = None


class Chat(Thinking, kw_only=True):
    """POST /v1/chat/completions."""

    messages: Annotated[list[Message], Meta(min_length=1)]
    tools: list[Tool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    max_completion_tokens: Count | None = None
    n: Answers | None = None
    logprobs: bool | None = None
    top_logprobs: TopLogprobs | None = None
    stream_options: StreamOptions | None = None


class Template(Thinking, kw_only=True):
    """POST /apply-template and the counters of chat tokens."""

    messages: Annotated[list[Message], Meta(min_length=1)]
    tools: list[Tool] | None = None


class Completions(Sampling, kw_only=True):
    """POST /v1/completions."""

    prompt: Prompt
    suffix: str | None = None
    echo: bool | None = None
    n: Answers | None = None
    best_of: Answers | None = None
    logprobs: TopLogprobs | None = None
    stream_options: StreamOptions | None = None


class Completion(Sampling, kw_only=True):
    """POST /completion, llama-server's own."""

    prompt: Prompt
    n_probs: TopLogprobs | None = None
    n_cmpl: Answers | None = None
    post_sampling_probs: bool | None = None
    return_tokens: bool | None = None
    response_fields: list[str] | None = None
    t_max_predict_ms: Annotated[int, Meta(ge=0, le=1 << 40)] | None = None
    n_indent: Annotated[int, Meta(ge=0, le=1 << 31)] | None = None


class Extra(Struct, kw_only=True):
    """Another file of the project, for the model to know of."""

    text: str
    filename: str = ""


class Infill(Sampling, kw_only=True):
    """POST /infill: what stands between `input_prefix` and `input_suffix`."""

    input_prefix: str
    input_suffix: str
    input_extra: list[Extra] | None = None
    prompt: str | None = None
    n_probs: TopLogprobs | None = None
    post_sampling_probs: bool | None = None
    return_tokens: bool | None = None
    response_fields: list[str] | None = None
    t_max_predict_ms: Annotated[int, Meta(ge=0, le=1 << 40)] | None = None
    n_indent: Annotated[int, Meta(ge=0, le=1 << 31)] | None = None


class Tokenize(Body, kw_only=True):
    content: str
    add_special: bool = False
    parse_special: bool = True
    with_pieces: bool = False


class Detokenize(Body, kw_only=True):
    tokens: list[Token]


class Embeddings(Body, kw_only=True):
    """POST /v1/embeddings; /embedding says `content` for `input`."""

    input: Prompt | None = None
    content: Prompt | None = None
    encoding_format: str | None = None
    dimensions: Annotated[int, Meta(ge=1, le=1 << 20)] | None = None
    embd_normalize: Annotated[int, Meta(ge=-1, le=2)] | None = None


class Rerank(Body, kw_only=True):
    query: str
    documents: list[str | dict[str, Any]] | None = None
    texts: list[str] | None = None
    top_n: Annotated[int, Meta(ge=0, le=1 << 20)] | None = None
    return_documents: bool | None = None


class TextFormat(Struct, kw_only=True):
    type: str
    schema: dict[str, Any] | None = None
    name: str | None = None


class TextOptions(Struct, kw_only=True):
    format: TextFormat | None = None
    verbosity: str | None = None


class ReasoningOptions(Struct, kw_only=True):
    effort: str | None = None
    summary: str | None = None


class ResponseTool(Struct, kw_only=True):
    """A tool in the flat form of the Responses API; only functions can be called here."""

    type: str
    name: str | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Responses(Thinking, kw_only=True):
    """POST /v1/responses."""

    input: str | list[dict[str, Any]]
    instructions: str | None = None
    tools: list[ResponseTool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    text: TextOptions | None = None
    reasoning: ReasoningOptions | None = None  # type: ignore[assignment]
    max_output_tokens: Count | None = None
    previous_response_id: str | None = None
    store: bool | None = None
    metadata: dict[str, str] | None = None
    truncation: str | None = None
    top_logprobs: TopLogprobs | None = None


class Block(Struct, kw_only=True):
    """A piece of an Anthropic message: text, image, tool_use, tool_result, thinking, redacted_thinking."""

    type: str
    text: str | None = None
    source: dict[str, Any] | None = None
    id: str | None = None
    name: str | None = None
    input: dict[str, Any] | None = None
    tool_use_id: str | None = None
    content: str | list[dict[str, Any]] | None = None
    is_error: bool | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None


class Turn(Struct, kw_only=True):
    role: str
    content: str | list[Block]


class AnthropicTool(Struct, kw_only=True):
    name: Annotated[str, Meta(min_length=1, max_length=256)]
    description: str | None = None
    input_schema: dict[str, Any] | None = None
    type: str | None = None


class CountTokens(Body, kw_only=True):
    """POST /v1/messages/count_tokens."""

    messages: Annotated[list[Turn], Meta(min_length=1)]
    system: str | list[Block] | None = None
    tools: list[AnthropicTool] | None = None
    tool_choice: dict[str, Any] | None = None
    thinking: dict[str, Any] | None = None


class Messages(CountTokens, kw_only=True):
    """POST /v1/messages."""

    max_tokens: Annotated[int, Meta(ge=0, le=1 << 31)]
    temperature: Annotated[float, Meta(ge=0, le=1e6)] | None = None
    top_k: Annotated[int, Meta(ge=0, le=1 << 31)] | None = None
    top_p: Share | None = None
    stop_sequences: list[str] | None = None
    stream: bool | None = None
    metadata: dict[str, Any] | None = None
    output_config: dict[str, Any] | None = None
    chat_template_kwargs: dict[str, Any] | None = None


class LoadModel(Struct, kw_only=True):
    """POST /models/load; `reload` replaces a loaded version while its answers go on."""

    model: str
    reload: bool = False


class UnloadModel(Struct, kw_only=True):
    model: str


class SaveSlot(Struct, kw_only=True):
    """POST /slots/ID?action=save or restore; erase needs no file."""

    filename: str | None = None


class Cancel(Struct, kw_only=True):
    """POST /v1/chat/completions/control: what to do with an answer under way."""

    id: str
    action: str = "cancel"
