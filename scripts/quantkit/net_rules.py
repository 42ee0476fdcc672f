"""Which layers a net has in a state, as Caffe decides by their include and exclude rules."""

import collections

# A state with the fields of Caffe's NetState message that rules look at, for code that has no such message.
State = collections.namedtuple("State", "phase level stage")


def included(layer, state):
    """Whether a net in this state (a NetState message or a State) has the layer."""
    if layer.include:
        return any(_meets(rule, state) for rule in layer.include)
    return not any(_meets(rule, state) for rule in layer.exclude)


def _meets(rule, state):
    """Whether a NetStateRule holds in the state, as in Caffe's Net::StateMeetsRule."""
    if rule.HasField("phase") and rule.phase != state.phase:
        return False
    if rule.HasField("min_level") and state.level < rule.min_level:
        return False
    if rule.HasField("max_level") and state.level > rule.max_level:
        return False
    return set(rule.stage) <= set(state.stage) and not set(rule.not_stage) & set(state.stage)
