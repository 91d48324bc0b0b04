"""The page's own markdown module, fed with what a model could say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

WHOLE = """async (text) => {
  const { markdown } = await import("/page/markdown.js");
  const root = document.createElement("div");
  root.append(markdown(text));
  return { html: root.innerHTML, text: root.textContent,
    tags: [...new Set([...root.querySelectorAll("*")].map((e) => e.localName))].sort(),
    links: [...root.querySelectorAll("a")].map((a) => [a.getAttribute("href"), a.rel, a.target]) };
}"""
STREAMED = """async ([text, steps]) => {
  const { Markdown, markdown } = await import("/page/markdown.js");
  const [streamed, whole] = [document.createElement("div"), document.createElement("div")];
  const view = new Markdown(streamed);
  for (const at of steps) view.show(text.slice(0, at), true);
  view.show(text);
  whole.append(markdown(text));
  return [streamed.innerHTML, whole.innerHTML];
}"""
TEXT = """# A title

Some *soft* and **strong** and ***both*** words, `code`, ~~gone~~, snake_case_names and 2 * 3 * 4.
A second line with [a link](https://example.com/a_(b)) and <https://example.org>.

- one
- two
  1. inner
  2. again

  still two
- [x] done

> quoted
> - in a list

| a | b |
|---|--:|
| 1 | `x|y` |
| 3 |

````md
```python
print("nested")
```
````

---
1) last
text
# End
```js
open();
"""
HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "<svg/onload=alert(1)><style>*{display:none}</style><iframe src=https://evil.example></iframe>",
    "# <b onclick=alert(1)>x</b>\n- <i>y</i>\n\n> <u>z</u>\n\n|<s>a</s>|b|\n|-|-|\n|<s>c</s>|d|",
    '```"><img src=x onerror=alert(1)>\n</code></pre><img src=x onerror=alert(1)>\n```',
    "`<img src=x onerror=alert(1)>` **<img src=x onerror=alert(1)>**",
    "![x](https://evil.example/pixel.png)",
    "&lt;img src=x onerror=alert(1)&gt;",
)
ADDRESSES = (
    "javascript:alert(1)", "JaVaScRiPt:alert(1)", "java\tscript:alert(1)", " javascript:alert(1)", "data:text/html,x",
    "vbscript:x", "file:///etc/passwd", "//evil.example", "/models/unload", "blob:null/x", "javascript&colon;x",
)  # fmt: skip


def shown(page: Page, text: str) -> dict[str, Any]:
    found: dict[str, Any] = page.evaluate(WHOLE, text)
    return found


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("a *b* **c** `f`", "<p>a <em>b</em> <strong>c</strong> <code>f</code></p>"),
        ("***d*** ~~e~~ ~f", "<p><strong><em>d</em></strong> <del>e</del> ~f</p>"),
        ("2 * 3 * 4, a_b_c, \\*not\\*, **open", "<p>2 * 3 * 4, a_b_c, *not*, **open</p>"),
        ("**a *b* c** *d **e***", "<p><strong>a <em>b</em> c</strong> <em>d <strong>e</strong></em></p>"),
        ("``a ` b`` `` ` ``", "<p><code>a ` b</code> <code>`</code></p>"),
        ("[un*closed](x) *a [b* c]", "<p>[un*closed](x) <em>a [b</em> c]</p>"),
        ("### T #\n***\n- - -", '<h5 class="h3">T</h5><hr><hr>'),
        ("- a\n- b\n  - c", "<ul><li>a</li><li>b<ul><li>c</li></ul></li></ul>"),
        ("- a\n\n3. x\n4. y", '<ul><li>a</li></ul><ol start="3"><li>x</li><li>y</li></ol>'),
        ("- a\n\n- b", "<ul><li><p>a</p></li><li><p>b</p></li></ul>"),
        ("> a\nb\n> > c\n\nd", "<blockquote><p>a\nb</p><blockquote><p>c</p></blockquote></blockquote><p>d</p>"),
        ("a  \nb<br>c", "<p>a  <br>b<br>c</p>"),
        ("", ""),
        ("  \n\n", ""),
    ],
)  # fmt: skip
def test_markdown_becomes_elements(page: Page, text: str, html: str) -> None:
    assert shown(page, text)["html"] == html


def test_code_keeps_every_character(page: Page) -> None:
    assert "<span>md</span>" in (html := shown(page, TEXT)["html"])
    assert '```python\nprint("nested")\n```' in html.replace("&quot;", '"')
    code = "  if a < b && c:\n\treturn `x` # **no**\n\n\nend"
    for language in ("python", "js", "", "text", "sql"):
        assert code in shown(page, f"```{language}\n{code}\n```")["text"]


def test_a_table_keeps_its_columns(page: Page) -> None:
    html = shown(page, "| a | b |\n|---|--:|\n| 1 | 2 | 3 |\n| 4 |\n\nend")["html"]
    assert html.count("<tr>") == 3
    assert html.count("<td") == 4
    assert '<td class="end">2</td>' in html


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text(page: Page, text: str) -> None:
    found = shown(page, text)
    ours = set(
        "p h3 ul li blockquote div table thead tbody tr th td header span button svg path pre code strong a".split()
    )
    assert set(found["tags"]) <= ours
    assert "onclick=" not in found["html"].replace("&lt;b onclick=", "")
    plain = text.replace("&lt;", "<").replace("&gt;", ">")
    for word in ("<img src=x onerror=alert(1)>", "<script>alert(1)</script>", "<b onclick=alert(1)>", "<s>c</s>"):
        assert (word in plain) == (word in found["text"]) or word in plain.split("\n")[0]


@pytest.mark.parametrize("address", ADDRESSES)
def test_only_addresses_of_the_web_and_of_mail_can_be_clicked(page: Page, address: str) -> None:
    for text in (f"[x]({address})", f"![x]({address})", f"<{address}>", f"[x](<{address}>)", f"[x]({address} 'title')"):
        assert shown(page, text)["links"] == [], text


def test_links_open_elsewhere_and_tell_nothing(page: Page) -> None:
    text = "[a](https://example.com/x) <mailto:a@example.com> see https://example.org/p?q=1. ![i](http://example.net/i.png)"
    links = shown(page, text)["links"]
    assert [link[0] for link in links] == [
        "https://example.com/x", "mailto:a@example.com", "https://example.org/p?q=1", "http://example.net/i.png",
    ]  # fmt: skip
    assert {tuple(link[1:]) for link in links} == {("noopener noreferrer nofollow", "_blank")}


def test_what_streams_in_ends_as_if_it_had_come_at_once(page: Page) -> None:
    every = list(range(1, len(TEXT)))
    for steps in (every, every[::7], [3, 50, 51, 400], []):
        streamed, whole = page.evaluate(STREAMED, [TEXT, steps])
        assert streamed == whole
    for text in (
        "a\n```x`y\nb",
        "p\n- - -",
        "p\n1",
        "- a\n\n  b\nc",
        "| a |\n|-|\n|b",
        "```\n```\n```",
        "a\n| b |\n|-",
    ):
        streamed, whole = page.evaluate(STREAMED, [text, list(range(len(text)))])
        assert streamed == whole, text


def test_finished_blocks_are_not_built_again(page: Page) -> None:
    kept = page.evaluate("""async () => {
      const { Markdown } = await import("/page/markdown.js");
      const root = document.createElement("div");
      const view = new Markdown(root);
      view.show("first\\n\\nsecond\\n\\n```py\\nx = 1\\n", true);
      const before = [...root.children];
      view.show("first\\n\\nsecond\\n\\n```py\\nx = 1\\ny = 2", true);
      view.show("first\\n\\nsecond\\n\\n```py\\nx = 1\\ny = 2\\nz", true);
      return [before.map((node, place) => node === root.children[place]), root.textContent];
    }""")
    assert kept == [[True, True, True], "firstsecondpyx = 1\ny = 2\nz"]


@pytest.mark.parametrize(
    "piece",
    ["*a ", "**", "_a*b", "[", "![](", "[a](b", "`", "``a`", "> ", "- ", "  - a\n", "|a", "|a|\n", "<", "&", "https://",
     "#\n", "a\n", "~~~\n", "1. ", "*_", "\\", '"""', "/*", "```c\n/*", "word "],
)  # fmt: skip
def test_two_hundred_thousand_characters_take_a_bounded_time(page: Page, piece: str) -> None:
    spent = page.evaluate("""async (piece) => {
      const { Markdown } = await import("/page/markdown.js");
      const view = new Markdown(document.createElement("div"));
      const text = piece.repeat(Math.ceil(200_000 / piece.length));
      const began = performance.now();
      view.show(text, true);
      view.show(text + "x", true);
      view.show(text + "x\\n");
      return performance.now() - began;
    }""", piece)  # fmt: skip
    assert spent < 20_000  # a slow machine needs a second; time that grows with the square needs minutes
