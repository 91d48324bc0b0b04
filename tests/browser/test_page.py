"""The web page in Chromium: chats, thinking, tools, stopping, keeping, keys, phones, colours."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from halflap_server.settings import Settings
from tests.browser.conftest import brief
from tests.plugins.server.kit import WEATHER, Running, running, starter

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

pytestmark = pytest.mark.browser

LAST = "article.assistant:last-child"
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def say(page: Page, text: str) -> str:
    """Send a message as a keyboard does; the answer when it is over."""
    page.locator("#draft").fill(text)
    page.keyboard.press("Enter")
    return over(page)


def over(page: Page) -> str:
    page.locator("#stop").wait_for(state="hidden")
    return page.locator(LAST).locator("footer .icon").first.wait_for(state="attached") or said(page)


def said(page: Page) -> str:
    return page.locator(f"{LAST} .words").inner_text()


def canned(page: Page, *chunks: dict[str, Any]) -> list[Any]:
    """Answer chats with these deltas in place of the model; returns the bodies that the page sends."""
    bodies: list[Any] = []

    def answer(route: Route) -> None:
        bodies.append(route.request.post_data_json)
        reply = "".join(f"data: {json.dumps({'choices': [{'index': 0, **chunk}]})}\n\n" for chunk in chunks)
        route.fulfill(status=200, content_type="text/event-stream", body=f": ping\n\n{reply}data: [DONE]\n\n")

    page.route("**/v1/chat/completions", answer)
    return bodies


def bodies_of(page: Page) -> list[Any]:
    """The chats that the page asks for from now on."""
    found: list[Any] = []
    page.on("request", lambda r: found.append(r.post_data_json) if r.url.endswith("/v1/chat/completions") else None)
    return found


def eventually(holds: Callable[[], bool]) -> bool:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if holds():
            return True
    return False


# --- chats ---


def test_a_chat_streams_and_ends(page: Page, server: Running) -> None:
    asked = bodies_of(page)
    page.evaluate("""() => {
      window.seen = new Set();
      new MutationObserver(() => window.seen.add(document.querySelector(".words")?.textContent.length ?? 0))
        .observe(document.getElementById("messages"), { childList: true, subtree: true, characterData: true });
    }""")
    text = say(page, "Tell me a story about a fox")
    messages = [{"role": "user", "content": "Tell me a story about a fox"}]
    same = {"messages": messages, "temperature": 0, "max_tokens": 40}
    assert text == server.post("/v1/chat/completions", same).json()["choices"][0]["message"]["content"].strip()
    assert page.evaluate("window.seen.size") > 3
    assert asked[0]["messages"] == messages
    assert asked[0]["stream"] is True
    assert "40 tokens" in page.locator(f"{LAST} footer").inner_text()
    assert "ended at the limit" in page.locator(f"{LAST} footer").inner_text()
    say(page, "And then?")
    assert [message["role"] for message in asked[1]["messages"]] == ["user", "assistant", "user"]
    assert "cached" in page.locator(f"{LAST} footer").inner_text()


def test_settings_reach_the_request(page: Page) -> None:
    asked = canned(page, {"delta": {"content": "yes"}, "finish_reason": "stop"})
    page.locator("#panel-open").click()
    for name, value in {"top_k": "7", "top_p": "0.5", "min_p": "0.1", "seed": "11", "system": "Be brief."}.items():
        page.locator(f"#set-{name}").fill(value)
    page.locator("#set-schema").fill('{"type": "string"')
    assert "not JSON" in page.locator("#wrong-schema").inner_text()
    page.locator("#draft").fill("Hi")
    page.keyboard.press("Enter")
    assert "not JSON" in page.locator("#toast").inner_text()
    assert page.locator("#draft").input_value() == "Hi"
    page.locator("#set-schema").fill('{"type": "string"}')
    page.select_option("#reasoning", "off")
    assert say(page, "Hi") == "yes"
    body = asked[0]
    assert {name: body[name] for name in ("top_k", "top_p", "min_p", "seed", "temperature", "max_tokens")} == {
        "top_k": 7, "top_p": 0.5, "min_p": 0.1, "seed": 11, "temperature": 0, "max_tokens": 40,
    }  # fmt: skip
    assert (body["reasoning"], body["json_schema"]) == ("off", {"type": "string"})
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}


def test_thinking_folds(page: Page) -> None:
    brief(page, 120)
    page.select_option("#reasoning", "on")
    assert "21" in say(page, "What is 12 + 9?")
    fold = page.locator(f"{LAST} .thinking")
    assert fold.locator("summary").inner_text() == "Thought"
    assert fold.get_attribute("open") is None
    assert not fold.locator(".markdown").is_visible()
    fold.locator("summary").click()
    assert fold.locator(".markdown").inner_text().strip()
    page.select_option("#reasoning", "off")
    assert "21" in say(page, "What is 12 + 9?")
    assert page.locator(f"{LAST} .thinking").is_hidden()


def test_a_tool_is_called_and_its_result_is_used(page: Page) -> None:
    asked = bodies_of(page)
    page.locator("#panel-open").click()
    page.locator("#set-tools").fill(json.dumps([WEATHER["function"]]))
    page.locator("#draft").fill("What is the weather in Paris?")
    page.keyboard.press("Enter")
    card = page.locator(".card")
    assert card.locator("header b").inner_text() == "get_weather"
    assert json.loads(card.locator("code").inner_text()) == {"city": "Paris"}
    card.locator("textarea").fill('{"weather": "sunny", "degrees": 21}')
    page.get_by_role("button", name="Send result").click()
    page.locator("article.assistant").nth(1).wait_for()
    assert "sunny" in over(page)
    assert asked[0]["tools"][0]["function"]["name"] == "get_weather"
    call, result = asked[1]["messages"][-2:]
    assert result == {
        "role": "tool", "tool_call_id": call["tool_calls"][0]["id"], "content": '{"weather": "sunny", "degrees": 21}',
    }  # fmt: skip
    assert card.locator(".result pre").inner_text() == result["content"]


def test_stop_ends_the_answer_on_the_server_too(page: Page, server: Running) -> None:
    served = server.pool.entries["starter"].served
    assert served is not None

    def endless(route: Route) -> None:
        route.continue_(post_data=json.dumps(route.request.post_data_json | {"ignore_eos": True, "max_tokens": 400}))

    page.route("**/v1/chat/completions", endless)
    before = served.model.metrics.generated_tokens
    page.locator("#draft").fill("Tell me a story about a fox")
    page.keyboard.press("Enter")
    page.locator(f"{LAST} .words p").first.wait_for()
    page.keyboard.press("Escape")
    over(page)
    assert "stopped" in page.locator(f"{LAST} footer").inner_text()
    assert eventually(lambda: served.model.metrics.running == 0)
    assert 0 < served.model.metrics.generated_tokens - before < 400
    assert said(page)
    page.unroute("**/v1/chat/completions")
    assert "21" in say(page, "What is 12 + 9?")


def test_hostile_answers_stay_text_in_a_chat(page: Page) -> None:
    bad = "<img src=x onerror=alert(1)> [x](javascript:alert(1))"
    canned(page, {"delta": {"reasoning_content": bad}}, {"delta": {"content": bad}},
           {"delta": {"tool_calls": [{"index": 0, "id": bad, "function": {"name": bad, "arguments": bad}}]}},
           {"delta": {}, "finish_reason": "tool_calls"})  # fmt: skip
    assert say(page, bad) == bad
    assert page.locator(".card header b").inner_text() == bad
    assert page.locator(".said").inner_text() == bad
    assert page.locator("#conversations .open").inner_text() == bad
    assert page.locator("#messages img, #messages a, #conversations img").count() == 0


def test_a_failure_is_told_and_the_answer_can_be_asked_for_again(opened: Callable[..., Page]) -> None:
    page = opened(allowed="status of 400")
    page.locator("#model .dot.loaded").wait_for()
    brief(page)
    page.locator("#draft").fill("word " * 3000)
    page.keyboard.press("Enter")
    page.locator(f"{LAST} .error").wait_for()
    assert "want" in page.locator(f"{LAST} .error").inner_text()
    assert page.get_by_role("button", name="Answer again").is_visible()


# --- conversations ---


def test_a_reload_keeps_conversations(page: Page) -> None:
    first = say(page, "What is 12 + 9?")
    page.get_by_role("button", name="New chat").click()
    second = say(page, "What is the capital of France?")
    page.reload()
    assert page.locator(f"{LAST} .words").inner_text() == second
    page.locator("#conversations .open", has_text="12 + 9").click()
    assert page.locator(f"{LAST} .words").inner_text() == first
    page.locator("#search").fill("france")
    assert page.locator("#conversations .open").all_inner_texts() == ["What is the capital of France?"]


def test_an_answer_that_a_reload_broke_off_says_so(page: Page) -> None:
    page.evaluate("""async () => {
      const c = await import("/page/conversations.js");
      const broken = c.create();
      const asked = c.add(broken, null, { role: "user", content: "Hi" });
      c.add(broken, asked.id, { role: "assistant", content: "Hel" });
      await c.keep(broken);
    }""")
    page.reload()
    page.locator("#conversations .open").click()
    assert page.locator(f"{LAST} .error").inner_text() == "The answer was interrupted."
    assert said(page) == "Hel"


def test_messages_have_versions(page: Page) -> None:
    say(page, "What is 12 + 9?")
    page.keyboard.press("ArrowUp")
    field = page.get_by_label("Edit your message")
    assert field.input_value() == "What is 12 + 9?"
    field.fill("What is 20 + 3?")
    field.press("Enter")
    page.locator(".said", has_text="20 + 3").wait_for()
    assert "23" in over(page)
    assert page.locator(".user .versions").inner_text() == "2/2"
    page.locator(".user").hover()
    page.get_by_role("button", name="Version before").click()
    assert "21" in said(page)
    page.get_by_role("button", name="Answer again").click()
    page.locator(".assistant .versions").wait_for()
    over(page)
    assert page.locator(".assistant .versions").inner_text() == "2/2"
    assert page.locator("article").count() == 2


def test_conversations_are_renamed_deleted_and_brought_back(page: Page) -> None:
    say(page, "What is 12 + 9?")
    page.get_by_role("button", name="Rename").click()
    page.get_by_label("Name of the conversation").fill("Sums")
    page.keyboard.press("Enter")
    assert page.locator("#conversations .open").all_inner_texts() == ["Sums"]
    page.locator("#conversations li").hover()
    page.get_by_role("button", name="Delete Sums").click()
    assert page.locator("#conversations .open").count() == 0
    assert page.locator("article").count() == 0
    page.get_by_role("button", name="Undo").click()
    page.locator("#conversations .open", has_text="Sums").wait_for()
    page.reload()
    assert page.locator("#conversations .open").all_inner_texts() == ["Sums"]
    assert page.locator("article").count() == 2


def test_a_file_carries_conversations_to_another_browser(
    page: Page, opened: Callable[..., Page], tmp_path: Path
) -> None:
    text = say(page, "What is 12 + 9?")
    with page.expect_download() as download:
        page.get_by_role("button", name="Export").click()
    file = tmp_path / "conversations.json"
    download.value.save_as(file)
    other = opened()
    other.locator("#import-file").set_input_files(file)
    other.locator("#conversations .open").click()
    assert said(other) == text
    data = json.loads(file.read_text())
    nodes = data["conversations"][0]["nodes"]
    broken: list[Any] = [
        [], {}, {"halflap": 1, "conversations": [{"nodes": {"1": {"role": "system", "parent": None}}}]},
        {"halflap": 1, "conversations": [{"nodes": {"1": {**nodes["1"], "parent": "2"}, "2": nodes["2"]}}]},
        {"halflap": 1, "conversations": [{"nodes": {"1": {**nodes["1"], "parent": "__proto__"}}}]},
    ]  # fmt: skip
    for each in broken:
        file.write_text(json.dumps(each))
        other.locator("#toast .toast").evaluate("(old) => old.remove()")
        other.locator("#import-file").set_input_files(file)
        assert "could not be imported" in other.locator("#toast .toast").inner_text()
    assert other.locator("#conversations .open").count() == 1


# --- the server ---


def test_a_key_is_asked_for_and_kept_as_wished(opened: Callable[..., Page]) -> None:
    limits = Settings(port=0, keys=("secret",), drain_seconds=1)
    with running(starter(), settings=limits) as server:
        page = opened(server.url, allowed="status of 401")
        dialog = page.locator("#key-dialog")
        dialog.get_by_label("API key").fill("wrong")
        page.keyboard.press("Enter")
        dialog.get_by_text("That key was not accepted.").wait_for()
        dialog.get_by_label("API key").fill("secret")
        page.keyboard.press("Enter")
        page.locator("#model .dot.loaded").wait_for()
        brief(page)
        assert "21" in say(page, "What is 12 + 9?")
        stored = "() => [sessionStorage.getItem('halflap.key'), localStorage.getItem('halflap.key')]"
        assert page.evaluate(stored) == ["secret", None]
        page.reload()
        page.locator("#model .dot.loaded").wait_for()
        page.locator("#panel-open").click()
        page.get_by_role("button", name="Forget the API key").click()
        assert page.evaluate(stored) == [None, None]
        page.reload()
        dialog.get_by_label("API key").fill("secret")
        dialog.get_by_label("Remember it").check()
        page.keyboard.press("Enter")
        page.locator("#model .dot.loaded").wait_for()
        assert page.evaluate(stored) == ["secret", "secret"]


def test_models_are_loaded_chosen_and_unloaded(page: Page) -> None:
    page.locator("#model").click()
    menu = page.locator("#model-menu")
    menu.get_by_role("button", name="Load other").click()
    menu.get_by_role("button", name="Unload other").wait_for()
    menu.get_by_role("button", name="other loaded").click()
    assert page.locator("#model").inner_text().strip() == "other"
    asked = bodies_of(page)
    say(page, "What is 12 + 9?")
    assert asked[0]["model"] == "other"
    page.reload()
    page.locator("#model", has_text="other").click()
    menu.get_by_role("button", name="Unload other").click()
    menu.get_by_role("button", name="Load other").wait_for()
    assert page.locator("#model .dot.unloaded").count() == 1


def test_the_live_view_counts(page: Page) -> None:
    page.locator("#panel-open").click()
    say(page, "What is 12 + 9?")
    meters = page.locator("#meters")
    meters.get_by_text("weights").wait_for()
    assert "MiB of" in meters.inner_text()
    page.locator("#meters dl div", has_text="Answer").locator("dd", has_not_text="–").wait_for()
    share = page.locator("#meters dl div", has_text="Cached").locator("dd").inner_text().split()[0]
    assert 0 <= int(share) <= 100
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    assert eventually(lambda: page.wait_for_timeout(200) or any("/props" in url for url in asked))
    page.locator("#panel-close").click()
    page.wait_for_timeout(100)
    asked.clear()
    page.wait_for_timeout(3000)
    assert asked == []


def test_images_go_with_a_message_when_the_model_sees(opened: Callable[..., Page]) -> None:
    page = opened()
    page.locator("#model .dot.loaded").wait_for()
    assert page.locator("#attach").is_hidden()

    def seeing(route: Route) -> None:
        reply = route.fetch().json()
        reply["data"][0]["meta"]["vision"] = True
        route.fulfill(json=reply)

    page.route("**/v1/models", seeing)
    page.reload()
    page.locator("#attach").wait_for()
    big = page.evaluate("""() => {
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [4096, 100];
      return canvas.toDataURL("image/png").split(",")[1];
    }""")
    files: list[Any] = [
        {"name": "pixel.png", "mimeType": "image/png", "buffer": PIXEL},
        {"name": "wide.png", "mimeType": "image/png", "buffer": base64.b64decode(big)},
        {"name": "broken.png", "mimeType": "image/png", "buffer": b"no image"},
    ]
    page.locator("#image-file").set_input_files(files)
    page.get_by_text("broken.png could not be read.").wait_for()
    page.locator("#attached figure").nth(1).wait_for()
    asked = canned(page, {"delta": {"content": "A dot."}, "finish_reason": "stop"})
    assert say(page, "What is this?") == "A dot."
    *images, text = asked[0]["messages"][0]["content"]
    assert text == {"type": "text", "text": "What is this?"}
    assert all(image["image_url"]["url"].startswith("data:image/") for image in images)
    sizes = page.evaluate(
        "() => [...document.querySelectorAll('.user img')].map((i) => [i.naturalWidth, i.naturalHeight])"
    )
    assert sizes == [[1, 1], [2048, 50]]


# --- people ---


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_scrolls_in_one_direction_only(opened: Callable[..., Page], scheme: Any) -> None:
    page = opened(width=360, has_touch=True, color_scheme=scheme)
    page.locator("#model .dot.loaded").wait_for()
    table = f"|{'cell|' * 12}\n|{'-|' * 12}\n|{'word|' * 12}"
    wide = f"# {'long' * 60}\n\n```\n{'code ' * 60}\n```\n\n{table}\n\nhttps://example.com/{'x' * 200}"
    canned(page, {"delta": {"content": wide}, "finish_reason": "stop"})
    say(page, "wide " + "w" * 300)
    fits = "() => document.documentElement.scrollWidth <= 360 && document.getElementById('scroll').scrollWidth <= 360"
    assert page.evaluate(fits)
    for button in ("#sidebar-open", "#panel-open"):
        page.locator(button).click()
        assert page.evaluate(fits)
        page.keyboard.press("Escape")
    for target in page.locator("main > header button:visible, .tools button:visible").all():
        box = target.bounding_box()
        assert box is not None
        assert min(box["width"], box["height"]) >= 32


def test_colours_follow_the_system_and_the_switch(opened: Callable[..., Page]) -> None:
    ground = "() => getComputedStyle(document.body).backgroundColor"
    light, dark = opened(color_scheme="light"), opened(color_scheme="dark")
    bright, deep = light.evaluate(ground), dark.evaluate(ground)
    assert bright != deep
    light.locator("#theme").click()
    assert light.evaluate(ground) == deep
    light.reload()
    assert light.evaluate(ground) == deep
    light.locator("#theme").click()
    assert light.evaluate(ground) == bright
    assert light.evaluate("() => localStorage.getItem('halflap.theme')") is None


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_told_from_its_ground(opened: Callable[..., Page], scheme: Any) -> None:
    page = opened(color_scheme=scheme)
    contrast = """([ink, ground]) => {
      const context = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
      const light = (name) => {
        context.fillStyle = getComputedStyle(Object.assign(probe.style, { color: `var(${name})` }) && probe).color;
        context.fillRect(0, 0, 1, 1);
        const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        const [r, g, b] = [...context.getImageData(0, 0, 1, 1).data].map((c) => linear(c / 255));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
      };
      const probe = document.body.appendChild(document.createElement("i"));
      const [a, b] = [light(ink), light(ground)];
      probe.remove();
      return Math.max(a, b) / Math.min(a, b);
    }"""
    for ink in ("--ink", "--soft", "--accent", "--bad"):
        for ground in ("--ground", "--raised", "--sunk"):
            assert page.evaluate(contrast, [ink, ground]) >= 4.5, (ink, ground)  # WCAG 2.2, 1.4.3


def test_the_keyboard_is_enough(page: Page) -> None:
    assert page.evaluate("document.activeElement.id") == "draft"
    page.keyboard.type("What is")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("12 + 9?")
    page.keyboard.press("Enter")
    assert "21" in over(page)
    assert page.locator(".said").inner_text() == "What is\n12 + 9?"
    assert page.evaluate("document.activeElement.id") == "draft"
    page.keyboard.press("Control+k")
    assert page.locator("article").count() == 0
    assert page.evaluate("document.activeElement.id") == "draft"
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.className"))
    wanted = "new-chat search open export import model theme panel-open reasoning send"
    assert set(wanted.split()) <= reached
    page.locator("#panel-open").focus()
    page.keyboard.press("Enter")
    assert page.locator("#panel").is_visible()
    assert page.evaluate("document.activeElement.id") == "panel-close"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "panel-open"
    nameless = page.evaluate("""() => [...document.querySelectorAll("button, input, textarea, select")]
      .filter((e) => !(e.getAttribute("aria-label") || e.labels?.length || e.textContent.trim()))
      .map((e) => e.outerHTML)""")
    assert nameless == []


def test_the_answer_is_announced_when_it_is_whole(page: Page) -> None:
    say(page, "What is 12 + 9?")
    log = page.get_by_role("log")
    assert log.get_attribute("aria-live") == "polite"
    assert page.locator(LAST).get_attribute("aria-busy") == "false"
