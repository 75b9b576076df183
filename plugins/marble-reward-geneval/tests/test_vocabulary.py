from __future__ import annotations

from marble_reward_geneval.vocabulary import CLASSES, COCO_NAMES, COLOURS, RELATIONS, TAGS


def test_cocos_classes_in_cocos_order() -> None:
    assert len(CLASSES) == len(set(CLASSES)) == 80
    places = {"person": 0, "boat": 8, "bench": 13, "giraffe": 23, "frisbee": 29, "bottle": 39}
    places |= {"banana": 46, "cake": 55, "tv": 62, "computer mouse": 64, "tv remote": 65}
    places |= {"computer keyboard": 66, "cell phone": 67, "toothbrush": 79}
    assert {name: CLASSES.index(name) for name in places} == places


def test_names_that_coco_has_otherwise() -> None:
    assert COCO_NAMES.keys() <= set(CLASSES)
    assert not set(COCO_NAMES.values()) & set(CLASSES)


def test_ten_colours_four_relations_six_tags() -> None:
    assert [len(set(words)) for words in (COLOURS, RELATIONS, TAGS)] == [10, 4, 6]
