"""The families, each in a few lines. A mark is a text that its chat templates hold; most marks win."""

from __future__ import annotations

from typing import Final

from attrs import evolve

from halflap.text.chat.calls import NAME, EitherCalls, JsonCalls, NamedCalls, PythonCalls
from halflap.text.chat.dialect import THINK, Dialect, Section, Written
from halflap.text.chat.literals import GEMMA
from halflap.text.chat.notations import AsGemma, AsKeywords, AsTags
from halflap.text.chat.xml_calls import XmlCalls

FUNCTION: Final = XmlCalls("<function=", ">", "<parameter=", ">", "</parameter>", "</function>")
BARE_FUNCTION: Final = evolve(FUNCTION, call="")
INVOKE: Final = XmlCalls('<invoke name="', '">', '<parameter name="', '">', "</parameter>", "</invoke>")
ARGUMENTS: Final = XmlCalls(
    "", "\n", "<arg_key>", "</arg_key>", "</arg_value>", "</tool_call>", value="<arg_value>",
    tags=("<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"),
)  # fmt: skip
TOOL_CALL: Final = Section("<tool_call>", EitherCalls((("{[", JsonCalls()), ("<", FUNCTION))), "</tool_call>")
"""What a model writes in these tags is often not what its template shows, so either way is read."""

LINES: Final = AsTags("<parameter=", ">\n", "\n</parameter>\n")
HERMES: Final = Written("<tool_call>", '\n{"name": "', '", "arguments": ', "}\n</tool_call>")

DEEPSEEK_SECTION: Final = Section(
    "<｜tool▁calls▁begin｜>",
    NamedCalls(
        rf"(?:function)?(?:<｜tool▁sep｜>)?(?P<name>{NAME}?)(?:<｜tool▁sep｜>)?", "<｜tool▁call▁begin｜>",
        "<｜tool▁call▁end｜>", tags=("<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"),
    ),
    "<｜tool▁calls▁end｜>",
)  # fmt: skip
DSML: Final = XmlCalls(
    '<｜DSML｜invoke name="', '">', '<｜DSML｜parameter name="', '">', "</｜DSML｜parameter>", "</｜DSML｜invoke>",
    tags=("｜DSML｜",),
)  # fmt: skip
DSML_SECTIONS: Final = (
    Section("<｜DSML｜function_calls>", DSML, "</｜DSML｜function_calls>"),
    Section("<｜DSML｜tool_calls>", DSML, "</｜DSML｜tool_calls>"),
)
DSML_CALLS: Final = Written(
    "<｜DSML｜tool_calls>", '\n<｜DSML｜invoke name="', '">\n', "</｜DSML｜invoke>", "", "\n</｜DSML｜tool_calls>",
    arguments=AsTags(
        '<｜DSML｜parameter name="', '" string="true">', "</｜DSML｜parameter>\n", '" string="false">',
    ),
)  # fmt: skip
MISTRAL_CALLS: Final = EitherCalls((
    ("[{", JsonCalls()),
    ("", NamedCalls(rf"(?P<name>{NAME}?)(?:\[CALL_ID\](?P<id>\w+))?(?:\[ARGS\])?", tags=("[ARGS]", "[CALL_ID]"))),
))  # fmt: skip
COHERE: Final = (
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_TEXT|>", "<|END_TEXT|>"),
    Section("<|START_ACTION|>", JsonCalls(), "<|END_ACTION|>"),
)
MINIMAX: Final = "]<]minimax[>["

DIALECTS: Final = {
    "hermes": Dialect(
        "Qwen 2.5, Qwen 3, QwQ, Hermes 2 and 3, EXAONE 4, SmolLM3, Ernie 4.5, the starter",
        ("<tool_call>", "</tool_call>", "<think>"),
        sections=(TOOL_CALL,),
        written=HERMES,
    ),
    "qwen3_coder": Dialect(
        "Qwen3-Coder, Qwen 3.5, Nemotron 3",
        ("<function=", "</function>", "<parameter=", "</parameter>"),
        sections=(TOOL_CALL, Section("<function=", BARE_FUNCTION)),
        layout=("</tool_call>",),
        written=Written("<tool_call>", "\n<function=", ">\n", "</function>\n</tool_call>", arguments=LINES),
        also=(Written("<function=", "", ">\n", "</function>\n</tool_call>", arguments=LINES),),
    ),
    "seed_oss": Dialect(
        "Seed-OSS",
        ("<seed:tool_call>", "<seed:think>", "<function=", "</function>", "<parameter="),
        think=(("<seed:think>", "</seed:think>"),),
        sections=(Section("<seed:tool_call>", FUNCTION, "</seed:tool_call>"),),
        written=Written(
            "<seed:tool_call>",
            "\n<function=",
            ">\n",
            "</function>\n</seed:tool_call>",
            arguments=AsTags("<parameter=", ">", "</parameter>\n"),
        ),
    ),
    "glm4": Dialect(
        "GLM 4.5, 4.6 and 4.7, Laguna",
        ("<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"),
        sections=(Section("<tool_call>", ARGUMENTS),),
        written=Written(
            "<tool_call>",
            "",
            "\n",
            "</tool_call>",
            arguments=AsTags("<arg_key>", "</arg_key>\n<arg_value>", "</arg_value>\n"),
        ),
    ),
    "minimax_m1": Dialect(
        "MiniMax M1",
        ("<tool_calls>", "<beginning_of_sentence>"),
        sections=(Section("<tool_calls>", JsonCalls(), "</tool_calls>"),),
        written=Written("<tool_calls>", '\n{"name": "', '", "arguments": ', "}", "", "\n</tool_calls>"),
    ),
    "minimax_m2": Dialect(
        "MiniMax M2",
        ("<minimax:tool_call>", "<invoke name=", "<parameter name="),
        sections=(Section("<minimax:tool_call>", INVOKE, "</minimax:tool_call>"),),
        written=Written(
            "<minimax:tool_call>",
            '\n<invoke name="',
            '">\n',
            "</invoke>",
            "",
            "\n</minimax:tool_call>",
            arguments=AsTags('<parameter name="', '">', "</parameter>\n"),
        ),
    ),
    "minimax_m3": Dialect(
        "MiniMax M3",
        (MINIMAX, "<mm:think>", "<invoke name="),
        think=(("<mm:think>", "</mm:think>"),),
        sections=(
            Section(
                f"{MINIMAX}<tool_call>",
                XmlCalls(
                    f'{MINIMAX}<invoke name="',
                    '">',
                    f"{MINIMAX}<",
                    ">",
                    MINIMAX + "</{key}>",
                    f"{MINIMAX}</invoke>",
                    nested=MINIMAX,
                    tags=(MINIMAX,),
                ),
                f"{MINIMAX}</tool_call>",
            ),
        ),
        written=Written(
            f"{MINIMAX}<tool_call>",
            f'\n{MINIMAX}<invoke name="',
            '">',
            f"{MINIMAX}</invoke>",
            "",
            f"\n{MINIMAX}</tool_call>",
            arguments=AsTags(f"{MINIMAX}<", ">", MINIMAX + "</{key}>"),
        ),
    ),
    "minicpm5": Dialect(
        "MiniCPM 5",
        ("<function name=", "<param name=", "</param>", "</function>"),
        sections=(
            Section(
                "<function ", XmlCalls('name="', '">', '<param name="', '">', "</param>", "</function>", cdata=True)
            ),
        ),
        written=Written(
            "<function ",
            'name="',
            '">',
            "</function>",
            arguments=AsTags('<param name="', '">', "</param>", cdata=True),
        ),
    ),
    "deepseek": Dialect(
        "DeepSeek V3 and V3.1",
        ("<｜Assistant｜>", "<｜tool▁calls▁begin｜>"),
        sections=(DEEPSEEK_SECTION,),
        written=Written(
            "<｜tool▁calls▁begin｜>",
            "<｜tool▁call▁begin｜>",
            "<｜tool▁sep｜>",
            "<｜tool▁call▁end｜>",
            "",
            "<｜tool▁calls▁end｜>",
        ),
    ),
    "deepseek_r1": Dialect(
        "DeepSeek R1 and its distillates, which fence the arguments",
        ("<｜Assistant｜>", "<｜tool▁calls▁begin｜>", "```json"),
        sections=(DEEPSEEK_SECTION,),
        written=Written(
            "<｜tool▁calls▁begin｜>",
            "<｜tool▁call▁begin｜>function<｜tool▁sep｜>",
            "\n```json\n",
            "\n```<｜tool▁call▁end｜>",
            "\n",
            "<｜tool▁calls▁end｜>",
        ),
    ),
    "deepseek_v3_2": Dialect(
        "DeepSeek V3.2",
        ("｜DSML｜", "<｜Assistant｜>", "invoke name=", "function_calls>"),
        sections=DSML_SECTIONS,
        written=evolve(DSML_CALLS, open="<｜DSML｜function_calls>", close="\n</｜DSML｜function_calls>"),
        also=(DSML_CALLS,),
    ),
    "deepseek_v4": Dialect(
        "DeepSeek V4",
        ("｜DSML｜", "<｜Assistant｜>", "invoke name=", "tool_calls>"),
        sections=DSML_SECTIONS,
        written=DSML_CALLS,
        also=(evolve(DSML_CALLS, open="<｜DSML｜function_calls>", close="\n</｜DSML｜function_calls>"),),
    ),
    "kimi_k2": Dialect(
        "Kimi K2",
        ("<|tool_calls_section_begin|>", "<|tool_call_begin|>", "<|im_middle|>"),
        sections=(
            Section(
                "<|tool_calls_section_begin|>",
                NamedCalls(
                    rf"(?P<id>(?:functions\.)?(?P<name>{NAME}?)(?::\d+)?)<\|tool_call_argument_begin\|>",
                    "<|tool_call_begin|>",
                    "<|tool_call_end|>",
                    tags=("<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>"),
                ),
                "<|tool_calls_section_end|>",
            ),
        ),
        calls_end_thoughts=True,
        written=Written(
            "<|tool_calls_section_begin|>",
            "<|tool_call_begin|>functions.",
            ":{index}<|tool_call_argument_begin|>",
            "<|tool_call_end|>",
            "",
            "<|tool_calls_section_end|>",
        ),
    ),
    "mistral": Dialect(
        "Mistral Small 3.2, Ministral 3, Magistral, Devstral",
        ("[TOOL_CALLS]", "[ARGS]", "[INST]"),
        think=(("[THINK]", "[/THINK]"), THINK),
        sections=(Section("[TOOL_CALLS]", MISTRAL_CALLS),),
        written=Written("[TOOL_CALLS]", "", "[ARGS]", ""),
    ),
    "mistral_v3": Dialect(
        "Mistral 7B, Nemo, Mixtral, Mistral Large 2",
        ("[TOOL_CALLS]", "[TOOL_CALLS][", "[INST]"),
        think=(),
        sections=(Section("[TOOL_CALLS]", MISTRAL_CALLS),),
        written=Written("[TOOL_CALLS][", '{"name": "', '", "arguments": ', "}", ", ", "]", trigger="[TOOL_CALLS]"),
    ),
    "llama3": Dialect(
        "Llama 3.1, 3.2, 3.3 and 4",
        ("<|start_header_id|>", '"parameters": '),
        think=(),
        sections=(
            Section("", EitherCalls((("{", JsonCalls(known=True)), ("[", PythonCalls(known=True)))), begins="{["),
            Section("<|python_tag|>", JsonCalls(known=True)),
            Section("<|python_start|>", EitherCalls((("{", JsonCalls()), ("[", PythonCalls()))), "<|python_end|>"),
        ),
        written=Written("", '{"name": "', '", "parameters": ', "}", "; ", bare=True),
    ),
    "functionary_v3_1": Dialect(
        "Functionary 3.1",
        ("start_tag", "end_tag", "<function=", "</function>"),
        think=(),
        sections=(Section("<function=", NamedCalls(rf"(?P<name>{NAME}?)>", after="</function>")),),
        written=Written("<function=", "", ">", "</function>"),
        tags=("<|python_tag|>",),
    ),
    "functionary_v3_2": Dialect(
        "Functionary 3.2",
        (">>>all", ">>>", "recipient"),
        think=(),
        sections=(Section(">>>", NamedCalls(rf"(?P<name>{NAME}?)")),),
        layout=(">>>all\n",),
        prompted=">>>",
    ),
    "firefunction_v2": Dialect(
        "Firefunction 2",
        ("functools[", "functools marker"),
        think=(),
        sections=(Section("functools", JsonCalls()),),
        written=Written(" functools[", '{"name": "', '", "arguments": ', "}", ", ", "]"),
    ),
    "phi": Dialect(
        "Phi 3, 3.5 and 4 mini",
        ("<|tool|>", "<|end|>", "<|assistant|>"),
        sections=(
            Section("<|tool_call|>", JsonCalls(), "<|/tool_call|>"),
            Section("functools", JsonCalls()),
        ),
        written=Written(
            "<|tool_call|>[", '{"name": "', '", "arguments": ', "}", ", ", "]<|/tool_call|>", trigger="<|tool_call|>"
        ),
    ),
    "nemotron_v2": Dialect(
        "Nemotron Nano 2",
        ("<TOOLCALL>", "</TOOLCALL>", "<SPECIAL_11>"),
        sections=(Section("<TOOLCALL>", JsonCalls(), "</TOOLCALL>"),),
        written=Written(
            "<TOOLCALL>[", '{"name": "', '", "arguments": ', "}", ", ", "]</TOOLCALL>", trigger="<TOOLCALL>"
        ),
    ),
    "granite3": Dialect(
        "Granite 3",
        ("<|start_of_role|>", "<|tool_call|>", "available_tools"),
        sections=(Section("<|tool_call|>", JsonCalls()), Section("<tool_call>", JsonCalls(), "</tool_call>")),
        layout=("<response>", "</response>"),
        written=Written("<|tool_call|>[", '{"name": "', '", "arguments": ', "}", ", ", "]", trigger="<|tool_call|>"),
    ),
    "granite4": Dialect(
        "Granite 4",
        ("<|start_of_role|>", "<tool_call>", "available_tools"),
        sections=(TOOL_CALL,),
        written=HERMES,
    ),
    "command_r7b": Dialect(
        "Command R7B, Command A, Cohere MoE",
        ("<|START_ACTION|>", "<|START_THINKING|>", "<|CHATBOT_TOKEN|>"),
        think=(COHERE[0],),
        sections=(COHERE[2],),
        layout=COHERE[1],
        written=Written(
            "<|START_ACTION|>[",
            '\n    {"tool_call_id": "0", "tool_name": "',
            '", "parameters": ',
            "}",
            ",",
            "\n]<|END_ACTION|>",
            trigger="<|START_ACTION|>",
        ),
    ),
    "command_r": Dialect(
        "Command R and R+",
        ("<|CHATBOT_TOKEN|>", "Action:", "directly_answer"),
        think=(),
        sections=(
            Section("Action: ```json", JsonCalls(known=True), "```"),
            Section("Action:```json", JsonCalls(known=True), "```"),
        ),
        written=Written("Action: ```json\n[", '\n    {"tool_name": "', '", "parameters": ', "}", ",", "\n]```"),
    ),
    "gigachat3": Dialect(
        "GigaChat 3",
        ("<|function_call|>", "<|role_sep|>", "<|message_sep|>"),
        think=(),
        sections=(Section("<|function_call|>", JsonCalls()),),
        written=Written("<|function_call|>", '{"name": "', '", "arguments": ', "}"),
    ),
    "lfm2": Dialect(
        "LFM2 and LFM2.5",
        ("List of tools:", "<|tool_call_start|>", "<|tool_list_start|>"),
        sections=(
            Section(
                "<|tool_call_start|>", EitherCalls((("{", JsonCalls()), ("[", PythonCalls()))), "<|tool_call_end|>"
            ),
        ),
        written=Written(
            "<|tool_call_start|>[",
            "",
            "(",
            ")",
            ", ",
            "]<|tool_call_end|>",
            arguments=AsKeywords(),
            trigger="<|tool_call_start|>",
        ),
    ),
    "gemma": Dialect("Gemma 2 and 3", ("<start_of_turn>", "<end_of_turn>"), think=()),
    "gemma4": Dialect(
        "Gemma 4",
        ("<|turn>", "<|tool_call>", "<|channel>"),
        think=(("<|channel>thought\n", "<channel|>"),),
        sections=(
            Section(
                "<|tool_call>", NamedCalls(rf"call:(?P<name>{NAME}?)", style=GEMMA, tags=('<|"|>',)), "<tool_call|>"
            ),
        ),
        tags=("<|channel>",),
        written=Written("<|tool_call>", "call:", "", "<tool_call|>", arguments=AsGemma()),
    ),
    "hunyuan": Dialect(
        "Hunyuan",
        ("<tool_calls>", "<tool_sep>", "<answer>"),
        sections=(
            Section(
                "<tool_calls>",
                NamedCalls(rf"(?P<name>{NAME}?)<tool_sep>", "<tool_call>", "</tool_call>", tags=("<tool_sep>",)),
                "</tool_calls>",
            ),
        ),
        layout=("<answer>", "</answer>"),
        written=Written(
            "<tool_calls>", "\n<tool_call>", "<tool_sep>\n```json\n", "\n```</tool_call>", "", "\n</tool_calls>"
        ),
        tags=("<tool_call>", "</tool_call>"),
    ),
}
"""Name -> how that family writes; gpt-oss, whose answers are messages of their own, is in `harmony`."""
