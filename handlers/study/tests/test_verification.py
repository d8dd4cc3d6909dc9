"""Each stage's verdict, on traces that differ in one thing."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from maskrcnn_server.detections import Detections
from maskrcnn_server.masks import BitMasks, RoiMasks
from maskrcnn_server.trace import Trace
from maskrcnn_study.verification import Finding, first_difference, verify, verify_answer

BOXES = np.array([[2, 2, 12, 12], [20, 5, 36, 25]], np.float32)
SCORES = np.array([0.9, 0.4], np.float32)
SOFT = np.stack([np.full((4, 4), p, np.float32) for p in (0.9, 0.8)])
SIZE = (32, 40)


def detections(
    boxes: NDArray[np.float32] = BOXES,
    scores: NDArray[np.float32] = SCORES,
    soft: NDArray[np.float32] = SOFT,
) -> Detections:
    bitmaps = [m.bitmap() for m in RoiMasks(soft, boxes, SIZE).rle("rows")]
    return Detections(
        size=SIZE,
        boxes=boxes,
        scores=scores,
        category_ids=np.arange(1, len(boxes) + 1),
        masks=BitMasks(np.array(bitmaps).reshape(-1, *SIZE)),
    )


@pytest.fixture
def trace() -> Trace:
    rng = np.random.default_rng(0)
    proposals = np.sort(rng.uniform(0, 32, (400, 4)).astype(np.float32), axis=1)[:, [0, 1, 2, 3]]
    return Trace(
        resized=rng.integers(0, 256, (*SIZE, 3), np.uint8),
        features=(rng.normal(size=(8, 10, 4)).astype(np.float32),),
        proposals=proposals,
        class_scores=rng.dirichlet(np.ones(3), 400).astype(np.float32),
        boxes=BOXES,
        scores=SCORES,
        labels=np.array([1, 2]),
        soft_masks=SOFT,
        detections=detections(),
        min_score=0.05,
        limit=100,
    )


def stage(name: str, findings: list[Finding]) -> Finding:
    return next(finding for finding in findings if finding.stage == name)


def test_a_trace_is_the_same_as_itself(trace: Trace) -> None:
    findings = verify(trace, trace)
    assert first_difference(findings) is None
    assert stage("pasted masks", findings).figures["least IoU"] == 1


def test_rounding_makes_no_difference(trace: Trace) -> None:
    noisy = replace(
        trace,
        features=tuple(f + np.float32(1e-6) for f in trace.features),
        proposals=trace.proposals + np.float32(1e-4),
        class_scores=trace.class_scores + np.float32(1e-5),
        boxes=trace.boxes + np.float32(1e-4),
        scores=trace.scores - np.float32(1e-5),
    )
    assert first_difference(verify(noisy, trace)) is None


def test_an_image_of_another_size_says_both(trace: Trace) -> None:
    finding = stage("resized picture", verify(replace(trace, resized=trace.resized[1:]), trace))
    assert not finding.same
    assert (finding.figures["height"], finding.figures["reference height"]) == (31, 32)


def test_maps_of_another_shape_differ(trace: Trace) -> None:
    other = replace(trace, features=(trace.features[0][:4],))
    assert not stage("features", verify(other, trace)).same


def test_one_proposal_of_two_hundred_may_differ_but_not_three(trace: Trace) -> None:
    for count, same in ((2, True), (6, False)):
        moved = trace.proposals.copy()
        moved[:count] += 5
        finding = stage("proposals", verify(replace(trace, proposals=moved), trace))
        assert finding.same is same
        assert finding.figures["share with a twin"] == pytest.approx(1 - count / 400)


def test_a_proposal_too_many_differs(trace: Trace) -> None:
    more = np.concatenate([trace.proposals, trace.proposals[:1]])
    scores = np.concatenate([trace.class_scores, trace.class_scores[:1]])
    finding = stage("proposals", verify(replace(trace, proposals=more, class_scores=scores), trace))
    assert not finding.same


def test_class_scores_are_those_of_the_same_proposal(trace: Trace) -> None:
    """The order of proposals does not count, the class does."""
    turned = replace(trace, proposals=trace.proposals[::-1], class_scores=trace.class_scores[::-1])
    assert stage("class scores", verify(turned, trace)).same
    permuted = replace(trace, class_scores=trace.class_scores[:, [1, 2, 0]])
    assert not stage("class scores", verify(permuted, trace)).same


def test_another_label_is_no_twin(trace: Trace) -> None:
    finding = stage("boxes", verify(replace(trace, labels=np.array([2, 1])), trace))
    assert not finding.same
    assert finding.figures["without a twin"] == 4


def test_what_is_at_the_min_score_or_the_end_of_a_full_list_is_noises_to_decide(
    trace: Trace,
) -> None:
    short = replace(
        trace, boxes=BOXES[:1], scores=SCORES[:1], labels=np.array([1]), soft_masks=SOFT[:1]
    )
    assert not stage("boxes", verify(short, trace)).same
    assert stage("boxes", verify(short, replace(trace, min_score=0.3995))).same
    swapped = replace(trace, boxes=BOXES + np.array([[0], [4]], np.float32))
    assert not stage("boxes", verify(swapped, trace)).same
    assert stage("boxes", verify(swapped, replace(trace, limit=2))).same


def test_a_mask_that_is_missing_differs(trace: Trace) -> None:
    unmasked = replace(trace, soft_masks=None, detections=replace(trace.detections, masks=None))
    findings = verify(unmasked, trace)
    assert not stage("masks", findings).same
    assert not stage("pasted masks", findings).same
    assert first_difference(verify(unmasked, unmasked)) is None


def test_a_probability_that_is_off_is_found(trace: Trace) -> None:
    finding = stage("masks", verify(replace(trace, soft_masks=SOFT - np.float32(0.01)), trace))
    assert not finding.same
    assert finding.figures["largest difference of probabilities"] == pytest.approx(0.01, abs=1e-6)


def test_masks_are_compared_in_the_same_boxes_where_that_can_be_asked(trace: Trace) -> None:
    moved = replace(trace, boxes=BOXES + np.float32(0.01), soft_masks=SOFT - np.float32(0.01))
    assert not stage("masks", verify(moved, trace)).same

    def mask(boxes: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float32]:
        assert boxes is trace.boxes
        assert labels is trace.labels
        return SOFT

    assert stage("masks", verify(replace(moved, mask=mask), trace)).same
    assert not stage("masks", verify(replace(moved, mask=lambda *_: SOFT[::-1]), trace)).same


def test_pixels_that_are_ties_do_not_count_but_others_do(trace: Trace) -> None:
    masks = trace.detections.masks
    assert isinstance(masks, BitMasks)
    flipped = masks.bitmaps.copy()
    flipped[0, 7, 7] = False
    other = replace(trace, detections=replace(trace.detections, masks=BitMasks(flipped)))
    assert stage("pasted masks", verify(other, trace)).same is False
    tied = SOFT.copy()
    tied[0] = 0.5005
    reference = replace(trace, soft_masks=tied)
    finding = stage("pasted masks", verify(replace(other, soft_masks=tied), reference))
    assert finding.same
    assert finding.figures["of these, ties"] == 1


def test_an_answer_in_whole_pixels_is_the_same(trace: Trace) -> None:
    told = detections(boxes=np.trunc(BOXES))
    told = replace(told, masks=trace.detections.masks)
    assert verify_answer(told, trace).same


def test_an_answer_that_lacks_an_instance_differs(trace: Trace) -> None:
    last = replace(
        trace.detections,
        boxes=BOXES[1:],
        scores=SCORES[1:],
        category_ids=np.array([2]),
        masks=BitMasks(np.zeros((1, *SIZE), np.bool_)),
    )
    finding = verify_answer(last, trace)
    assert not finding.same
    assert finding.figures["without a twin"] == 1


def test_two_empty_traces_are_the_same(trace: Trace) -> None:
    nothing = replace(
        trace,
        boxes=BOXES[:0],
        scores=SCORES[:0],
        labels=np.zeros(0, np.int64),
        soft_masks=SOFT[:0],
        detections=detections(BOXES[:0], SCORES[:0], SOFT[:0]),
    )
    assert first_difference(verify(nothing, nothing)) is None
    assert verify_answer(nothing.detections, nothing).same
