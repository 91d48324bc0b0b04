"""An example chat format, for models that answer in sections: `## Thoughts`, then `## Answer`."""

import halflap
from halflap.events import Reasoning, Text

THOUGHTS, ANSWER = "## Thoughts\n", "## Answer\n"


class Sections:
    """Made with the file's ChatTemplate, which does the rendering."""

    def __init__(self, template):
        self.template = template

    def render(self, messages, tools, **options):
        """Prompt pieces; a format may change messages or options first."""
        return self.template.render(messages, tools, **options)

    def parser(self, tools, prompt):
        return SectionParser()


class SectionParser:
    """Text in, events out. It must never raise: what it does not understand is text."""

    def __init__(self):
        self.held, self.event = "", Text

    def push(self, text):
        self.held += text
        *lines, self.held = self.held.splitlines(keepends=True) or [""]
        if self.held.endswith("\n"):
            lines, self.held = [*lines, self.held], ""
        events = []
        for line in lines:
            if line in (THOUGHTS, ANSWER):
                self.event = Reasoning if line == THOUGHTS else Text
            else:
                events.append(self.event(line))
        return events

    def finish(self):
        return [self.event(self.held)] if self.held else []


@halflap.hookimpl
def register_chat_formats(register):
    register("sections", Sections, detect=(THOUGHTS.strip(), ANSWER.strip()))
