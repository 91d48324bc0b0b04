# ruff: noqa: E501, ISC004 - answers stand as their templates write them
"""Answers of each family as its own template writes them, and what they say: written by hand from the templates."""

from __future__ import annotations

from typing import Any, Final

WEATHER: Final = {"city": 'Köln "x"', "days": 3, "opts": {"u": [1, True]}}
SUM: Final = {"a": 1.5}
BOTH: Final = [("get_weather", WEATHER), ("add", SUM)]

TOOLS: Final[list[dict[str, Any]]] = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather.",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "Where."},
                    "days": {"type": "integer", "description": "How long."},
                    "opts": {"type": "object", "description": "More.", "additionalProperties": {"type": "string"}},
                },
                "required": ["city"],
            },
        },
    },
    {
        "type": "function",
        "function": {
            "name": "add",
            "description": "A sum.",
            "parameters": {"type": "object", "properties": {"a": {"type": "number", "description": "One."}}},
        },
    },
]

JSON_WEATHER: Final = '{"city": "Köln \\"x\\"", "days": 3, "opts": {"u": [1, true]}}'
QWEN_CALLS: Final = (
    '<tool_call>\n<function=get_weather>\n<parameter=city>\nKöln "x"\n</parameter>\n<parameter=days>\n3\n</parameter>\n'
    '<parameter=opts>\n{"u": [1, true]}\n</parameter>\n</function>\n</tool_call>\n'
    "<tool_call>\n<function=add>\n<parameter=a>\n1.5\n</parameter>\n</function>\n</tool_call>"
)
DSML: Final = (
    '<｜DSML｜invoke name="get_weather">\n<｜DSML｜parameter name="city" string="true">Köln "x"</｜DSML｜parameter>\n'
    '<｜DSML｜parameter name="days" string="false">3</｜DSML｜parameter>\n'
    '<｜DSML｜parameter name="opts" string="false">{"u": [1, true]}</｜DSML｜parameter>\n</｜DSML｜invoke>\n'
    '<｜DSML｜invoke name="add">\n<｜DSML｜parameter name="a" string="false">1.5</｜DSML｜parameter>\n</｜DSML｜invoke>\n'
)
NS: Final = "]<]minimax[>["

# family -> (what the prompt ends with, answer, reasoning, text, calls)
Golden = tuple[str, str, str, str, list[tuple[str, Any]]]
GOLDEN: Final[dict[str, list[Golden]]] = {
    "hermes": [
        (
            "<|im_start|>assistant\n",
            f'<think>\nlet me see\n</think>\n\nIt is <b>.\n<tool_call>\n{{"name": "get_weather", "arguments": {JSON_WEATHER}}}\n'
            '</tool_call>\n<tool_call>\n{"name": "add", "arguments": {"a": 1.5}}\n</tool_call>',
            "let me see", "It is <b>.", BOTH,
        ),
        ("<|im_start|>assistant\n<think>\n", "hm\n</think>\n\nyes ", "hm", "yes ", []),
        ("", '<tool_call>{"arguments": {"a": 1.5}, "name": "add"}</tool_call> so', "", "so", [("add", SUM)]),
        ("", '<tool_call>{"name": "add", "arguments": "{\\"a\\": 1.5}"}', "", "", [("add", SUM)]),
        ("", '<tool_call>{"name": "add"}</tool_call>', "", "", [("add", {})]),
        ("", "<tool_call>\n<function=add>\n<parameter=a>\n1.5\n</parameter>\n</function>\n</tool_call>", "", "", [("add", SUM)]),
        ("", 'a <tool_call>{not json</tool_call> b', "", 'a <tool_call>{not json</tool_call> b', []),
        ("", "a  <tool_call>\nnone</tool_call>", "", "a  <tool_call>\nnone</tool_call>", []),
        ("", "no thought </think> was open", "", "no thought </think> was open", []),
    ],
    "qwen3_coder": [
        ("<|im_start|>assistant\n<think>\n", f"why\n</think>\n\nWORDS\n\n{QWEN_CALLS}", "why", "WORDS", BOTH),
        ("", QWEN_CALLS.removeprefix("<tool_call>\n"), "", "", BOTH),
        (
            "",
            "<tool_call>\n<function=get_weather>\n<parameter=city>\n two\n\nlines \n</parameter>\n</function>\n</tool_call>",
            "", "", [("get_weather", {"city": " two\n\nlines "})],
        ),
        ("", "<tool_call>\n<function=add>\n</function>\n</tool_call>", "", "", [("add", {})]),
        (
            "",
            "<tool_call>\n<function=other>\n<parameter=x>\nTrue\n</parameter>\n<parameter=y>\n007\n</parameter>\n</function>\n</tool_call>",
            "", "", [("other", {"x": True, "y": 7})],
        ),
    ],
    "seed_oss": [
        (
            "<seed:bos>assistant\n",
            '<seed:think>THOUGHTS</seed:think>\nWORDS\n\n<seed:tool_call>\n<function=get_weather>\n<parameter=city>Köln "x"</parameter>\n'
            "<parameter=days>3</parameter>\n<parameter=opts>{'u': [1, True]}</parameter>\n</function>\n</seed:tool_call>\n"
            "<seed:tool_call>\n<function=add>\n<parameter=a>1.5</parameter>\n</function>\n</seed:tool_call>",
            "THOUGHTS", "WORDS", BOTH,
        ),
        (
            "",
            '<seed:tool_call><function=get_weather><parameter=opts>{"u": "</parameter> \\"</parameter>"}</parameter></function>\n</seed:tool_call>.',
            "", ".", [("get_weather", {"opts": {"u": '</parameter> "</parameter>'}})],
        ),
        (
            "",
            '<seed:tool_call><function=get_weather><parameter=opts>{"u: 1}</parameter><parameter=city>"</parameter></function></seed:tool_call>',
            "", "", [("get_weather", {"opts": '{"u: 1}', "city": '"'})],
        ),
    ],
    "glm4": [
        (
            "<|assistant|><think>",
            'THOUGHTS</think>WORDS<tool_call>get_weather<arg_key>city</arg_key><arg_value>Köln "x"</arg_value><arg_key>days</arg_key>'
            '<arg_value>3</arg_value><arg_key>opts</arg_key><arg_value>{"u": [1, true]}</arg_value></tool_call>'
            "<tool_call>add<arg_key>a</arg_key><arg_value>1.5</arg_value></tool_call>",
            "THOUGHTS", "WORDS", BOTH,
        ),
        (
            "<|assistant|>",
            '\n<think>THOUGHTS</think>\nWORDS\n<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Köln "x"</arg_value>\n'
            '<arg_key>days</arg_key>\n<arg_value>3</arg_value>\n<arg_key>opts</arg_key>\n<arg_value>{"u": [1, true]}</arg_value>\n'
            "</tool_call>\n<tool_call>add\n<arg_key>a</arg_key>\n<arg_value>1.5</arg_value>\n</tool_call>",
            "THOUGHTS", "WORDS", BOTH,
        ),
        ("", "<tool_call>add</tool_call>", "", "", [("add", {})]),
    ],
    "minimax_m1": [
        (
            "<beginning_of_sentence>ai name=assistant\n",
            f'<tool_calls>\n{{"name": "get_weather", "arguments": {JSON_WEATHER}}}\n{{"name": "add", "arguments": {{"a": 1.5}}}}\n</tool_calls>',
            "", "", BOTH,
        ),
    ],
    "minimax_m2": [
        (
            "]~b]ai\n<think>\n",
            'THOUGHTS\n</think>\n\nWORDS\n<minimax:tool_call>\n<invoke name="get_weather">\n<parameter name="city">Köln "x"</parameter>\n'
            '<parameter name="days">3</parameter>\n<parameter name="opts">{"u": [1, true]}</parameter>\n</invoke>\n'
            '<invoke name="add">\n<parameter name="a">1.5</parameter>\n</invoke>\n</minimax:tool_call>',
            "THOUGHTS", "WORDS", BOTH,
        ),
    ],
    "minimax_m3": [
        (
            "]~b]ai\n",
            f'<mm:think>THOUGHTS</mm:think>WORDS{NS}<tool_call>\n{NS}<invoke name="get_weather">{NS}<city>Köln "x"{NS}</city>'
            f"{NS}<days>3{NS}</days>{NS}<opts>{NS}<u>{NS}<item>1{NS}</item>{NS}<item>true{NS}</item>{NS}</u>{NS}</opts>{NS}</invoke>\n"
            f'{NS}<invoke name="add">{NS}<a>1.5{NS}</a>{NS}</invoke>\n{NS}</tool_call>',
            "THOUGHTS", "WORDS", BOTH,
        ),
    ],
    "minicpm5": [
        (
            "<|im_start|>assistant\n",
            '<think>\nTHOUGHTS\n</think>\n\nWORDS\n<function name="get_weather"><param name="city">Köln "x"</param><param name="days">3</param>'
            "<param name=\"opts\">{'u': [1, True]}</param></function>\n<function name=\"add\"><param name=\"a\">1.5</param></function>",
            "THOUGHTS", "WORDS", BOTH,
        ),
        (
            "",
            '<function name="get_weather"><param name="city"><![CDATA[a < b\n&]]></param></function>',
            "", "", [("get_weather", {"city": "a < b\n&"})],
        ),
    ],
    "deepseek": [
        (
            "<｜Assistant｜><think>",
            f"hm</think>WORDS<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{JSON_WEATHER}<｜tool▁call▁end｜>"
            '<｜tool▁call▁begin｜>add<｜tool▁sep｜>{"a": 1.5}<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
            "hm", "WORDS", BOTH,
        ),
    ],
    "deepseek_r1": [
        (
            "<｜Assistant｜><think>\n",
            f"hm\n</think>\n\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n{JSON_WEATHER}\n```"
            '<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>add\n```json\n{"a": 1.5}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
            "hm", "", BOTH,
        ),
    ],
    "deepseek_v3_2": [
        (
            "<｜Assistant｜><think></think>",
            f"WORDS\n\n<｜DSML｜function_calls>\n{DSML}</｜DSML｜function_calls>", "", "WORDS", BOTH,
        ),
    ],
    "deepseek_v4": [
        ("<｜Assistant｜><think>", f"hm</think>\n\n<｜DSML｜tool_calls>\n{DSML}</｜DSML｜tool_calls>", "hm", "", BOTH),
    ],
    "kimi_k2": [
        (
            "<|im_assistant|>assistant<|im_middle|>",
            f"<think>hm</think>WORDS<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>{JSON_WEATHER}"
            '<|tool_call_end|><|tool_call_begin|>functions.add:1<|tool_call_argument_begin|>{"a": 1.5}<|tool_call_end|><|tool_calls_section_end|>',
            "hm", "WORDS", BOTH,
        ),
        (
            "",
            '<think>hm <|tool_calls_section_begin|><|tool_call_begin|>functions.add:0<|tool_call_argument_begin|>{"a": 1.5}<|tool_call_end|>'
            "<|tool_calls_section_end|>",
            "hm", "", [("add", SUM)],
        ),
    ],
    "mistral": [
        ("[/INST]", f'WORDS[TOOL_CALLS]get_weather[ARGS]{JSON_WEATHER}[TOOL_CALLS]add[ARGS]{{"a": 1.5}}', "", "WORDS", BOTH),
        ("[/INST]", '[THINK]hm[/THINK][TOOL_CALLS]add[CALL_ID]abcDEF123[ARGS]{"a": 1.5}', "hm", "", [("add", SUM)]),
    ],
    "mistral_v3": [
        (
            "[/INST]",
            f'[TOOL_CALLS][{{"name": "get_weather", "arguments": {JSON_WEATHER}, "id": "abcdefghi"}}, '
            '{"name": "add", "arguments": {"a": 1.5}, "id": "abcdefghj"}]',
            "", "", BOTH,
        ),
    ],
    "llama3": [
        ("<|end_header_id|>\n\n", f'{{"name": "get_weather", "parameters": {JSON_WEATHER}}}', "", "", BOTH[:1]),
        (
            "<|end_header_id|>\n\n",
            f'{{"name": "get_weather", "parameters": {JSON_WEATHER}}}; {{"name": "add", "parameters": {{"a": 1.5}}}}', "", "", BOTH,
        ),
        ("", '<|python_tag|>{"name": "add", "parameters": {"a": 1.5}}', "", "", [("add", SUM)]),
        ("", '[get_weather(city="Köln \\"x\\"", days=3, opts={"u": [1, True]}), add(a=1.5)]', "", "", BOTH),
        ("", '{"name": "unknown", "parameters": {}}', "", '{"name": "unknown", "parameters": {}}', []),
        ("", 'Say {"name": "add", "parameters": {}}', "", 'Say {"name": "add", "parameters": {}}', []),
        ("", "[1, 2]", "", "[1, 2]", []),
        ("", "  Words", "", "  Words", []),
    ],
    "functionary_v3_1": [
        ("", f'WORDS<function=get_weather>{JSON_WEATHER}</function><function=add>{{"a": 1.5}}</function>', "", "WORDS", BOTH),
    ],
    "functionary_v3_2": [
        ("<|end_header_id|>\n\n>>>", f'all\nWORDS>>>get_weather\n{JSON_WEATHER}>>>add\n{{"a": 1.5}}', "", "WORDS", BOTH),
        ("<|end_header_id|>\n\n>>>", 'add\n{"a": 1.5}', "", "", [("add", SUM)]),
    ],
    "firefunction_v2": [
        (
            "",
            f' functools[{{"name": "get_weather", "arguments": {JSON_WEATHER}}}, {{"name": "add", "arguments": {{"a": 1.5}}}}]',
            "", "", BOTH,
        ),
    ],
    "phi": [
        (
            "<|assistant|>\n",
            f'<|tool_call|>[{{"name": "get_weather", "arguments": {JSON_WEATHER}}}, {{"name": "add", "arguments": {{"a": 1.5}}}}]<|/tool_call|>',
            "", "", BOTH,
        ),
    ],
    "nemotron_v2": [
        (
            "<SPECIAL_11>Assistant\n<think>\n",
            f'hm\n</think>\nWORDS\n<TOOLCALL>[{{"name": "get_weather", "arguments": {JSON_WEATHER}}}, {{"name": "add", "arguments": {{"a": 1.5}}}}]</TOOLCALL>',
            "hm", "WORDS", BOTH,
        ),
    ],
    "granite3": [
        (
            "<|end_of_role|>",
            f'<|tool_call|>[{{"name": "get_weather", "arguments": {JSON_WEATHER}}}, {{"name": "add", "arguments": {{"a": 1.5}}}}]',
            "", "", BOTH,
        ),
        ("", "<think>hm</think>\n<response>WORDS</response>", "hm", "WORDS", []),
    ],
    "granite4": [
        (
            "<|end_of_role|>",
            f'WORDS\n<tool_call>\n{{"name": "get_weather", "arguments": {JSON_WEATHER}}}\n</tool_call>\n'
            '<tool_call>\n{"name": "add", "arguments": {"a": 1.5}}\n</tool_call>',
            "", "WORDS", BOTH,
        ),
    ],
    "command_r7b": [
        (
            "<|CHATBOT_TOKEN|>",
            f'<|START_THINKING|>hm<|END_THINKING|><|START_ACTION|>[\n    {{"tool_call_id": "0", "tool_name": "get_weather", "parameters": {JSON_WEATHER}}},\n'
            '    {"tool_call_id": "1", "tool_name": "add", "parameters": {"a": 1.5}}\n]<|END_ACTION|>',
            "hm", "", BOTH,
        ),
        ("<|START_THINKING|><|END_THINKING|>", "<|START_RESPONSE|>WORDS<|END_RESPONSE|>", "", "WORDS", []),
        ("<|CHATBOT_TOKEN|><|START_THINKING|>", "hm<|END_THINKING|><|START_TEXT|>WORDS<|END_TEXT|>", "hm", "WORDS", []),
    ],
    "command_r": [
        (
            "<|CHATBOT_TOKEN|>",
            f'Action: ```json\n[\n    {{\n        "tool_name": "get_weather",\n        "parameters": {JSON_WEATHER}\n    }},\n'
            '    {\n        "tool_name": "add",\n        "parameters": {"a": 1.5}\n    }\n]```',
            "", "", BOTH,
        ),
    ],
    "gigachat3": [
        (
            "assistant<|role_sep|>\n",
            f'WORDS<|function_call|>{{"name": "get_weather", "arguments": {JSON_WEATHER}}}', "", "WORDS", BOTH[:1],
        ),
    ],
    "lfm2": [
        (
            "<|im_start|>assistant\n",
            'WORDS<|tool_call_start|>[get_weather(city=\'Köln "x"\', days=3, opts={"u": [1, true]}), add(a=1.5)]<|tool_call_end|>',
            "", "WORDS", BOTH,
        ),
        (
            "",
            "<|tool_call_start|>[get_weather(city='it's \"here\"', opts={'u': (None, False)})]<|tool_call_end|>done",
            "", "done", [("get_weather", {"city": "it's \"here\"", "opts": {"u": [None, False]}})],
        ),
        ("<|im_start|>assistant\n", "<think>hm</think>WORDS", "hm", "WORDS", []),
    ],
    "gemma": [("<start_of_turn>model\n", "WORDS <think>", "", "WORDS <think>", [])],
    "gemma4": [
        (
            "<|turn>model\n",
            '<|channel>thought\nTHOUGHTS\n<channel|>WORDS<|tool_call>call:get_weather{city:<|"|>Köln "x"<|"|>,days:3,opts:{u:[1,true]}}<tool_call|>'
            "<|tool_call>call:add{a:1.5}<tool_call|>",
            "THOUGHTS", "WORDS", BOTH,
        ),
        ("<|channel>thought\n<channel|>", "WORDS", "", "WORDS", []),
    ],
    "hunyuan": [
        (
            "",
            f"<think>hm</think>\n<answer>WORDS</answer><tool_calls>\n<tool_call>get_weather<tool_sep>\n```json\n{JSON_WEATHER}\n```</tool_call>\n"
            '<tool_call>add<tool_sep>\n```json\n{"a": 1.5}\n```</tool_call>\n</tool_calls>',
            "hm", "WORDS", BOTH,
        ),
    ],
    "harmony": [
        (
            "<|start|>assistant",
            "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>commentary<|message|>WORDS<|end|>"
            f"<|start|>assistant<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{JSON_WEATHER}<|call|>"
            '<|start|>assistant to=functions.add<|channel|>commentary json<|message|>{"a": 1.5}<|call|>',
            "hm", "WORDS", BOTH,
        ),
        ("<|start|>assistant", "<|channel|>final<|message|>two\n\nlines", "", "two\n\nlines", []),
        ("<|start|>assistant", ' to=functions.add<|channel|>commentary json<|message|>{"a": 1.5}', "", "", [("add", SUM)]),
        ("<|start|>assistant", "just words", "", "just words", []),
    ],
}  # fmt: skip
