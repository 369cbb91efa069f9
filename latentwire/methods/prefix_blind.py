"""Control: learned soft tokens without the text, i.e. what labels alone teach the receiver."""

from __future__ import annotations

from latentwire.core.progress import Progress
from latentwire.data.spec import Setting
from latentwire.eval.method import METHODS
from latentwire.methods.trained_wire import LearnedPrefixMethod
from latentwire.wire.wire import Wire


@METHODS.add("prefix_blind")
class PrefixBlind(LearnedPrefixMethod):
    """As many soft tokens as a message has, in its place in the bridge's own prompt."""

    about = "control: learned soft tokens, no text"
    role = "control"
    blind = True
    position = 15
    timed = False

    def build(self, progress: Progress) -> Wire:
        context = self.context
        # In the setting `shared` the receiver would read the text itself.
        setting: Setting = "blind" if context.setting == "shared" else context.setting
        wire = context.wire if setting == context.setting else None
        return self.prefix_wire(
            setting, wire.prompt_builder(context.task).template if wire else None
        )
