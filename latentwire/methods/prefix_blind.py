"""Control: learned soft tokens and no text: what a receiver learns from training labels alone."""

from __future__ import annotations

from latentwire.core.progress import Progress
from latentwire.data.spec import Setting
from latentwire.eval.method import METHODS
from latentwire.methods.trained_wire import LearnedPrefixMethod
from latentwire.wire.wire import Wire


@METHODS.add("prefix_blind")
class PrefixBlind(LearnedPrefixMethod):
    """As many soft tokens as a message has, in its place, behind the bridge's own prompt."""

    about = "control: learned soft tokens, no text"
    role = "control"
    blind = True
    position = 15
    timed = False

    def build(self, progress: Progress) -> Wire:
        context = self.context
        assert context.setting is not None
        # In the setting `shared` the receiver would read the text itself.
        setting: Setting = "blind" if context.setting == "shared" else context.setting
        wire = context.wire if setting == context.setting else None
        return self.prefix_wire(
            setting, wire.prompt_builder(context.task).template if wire else None
        )
