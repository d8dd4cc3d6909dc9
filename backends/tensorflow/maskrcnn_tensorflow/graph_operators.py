"""Operators that a graph from a stranger may have. All others are refused: some of TensorFlow's
read and write files, run Python or load libraries."""

CALLS = frozenset("PartitionedCall StatefulPartitionedCall".split())
CALLING = CALLS | frozenset("Case If StatelessCase StatelessIf StatelessWhile While".split())
"""Operators that call functions."""

COMPUTING = CALLING | frozenset(
    """
    Const Identity IdentityN NoOp Placeholder PlaceholderWithDefault PreventGradient ReadVariableOp
    StopGradient VarHandleOp VariableV2

    Enter Exit LoopCond Merge NextIteration Switch
    TensorArrayConcatV3 TensorArrayGatherV3 TensorArrayReadV3 TensorArrayScatterV3 TensorArraySizeV3
    TensorArrayV3 TensorArrayWriteV3
    EmptyTensorList TensorListConcatV2 TensorListElementShape TensorListFromTensor TensorListGather
    TensorListGetItem TensorListLength TensorListPopBack TensorListPushBack TensorListReserve
    TensorListResize TensorListScatterIntoExistingList TensorListScatterV2 TensorListSetItem
    TensorListStack

    Abs Add AddN AddV2 ApproximateEqual Assert Ceil ClipByValue Cumsum Cumprod DivNoNan Div Equal
    Erf Exp Expm1 Floor FloorDiv FloorMod Greater GreaterEqual Inv Invert IsFinite IsInf IsNan Less
    LessEqual Log Log1p LogicalAnd LogicalNot LogicalOr Maximum Minimum Mod Mul MulNoNan Neg
    NotEqual OnesLike Pow RealDiv Reciprocal Rint Round Rsqrt Sigmoid Sign Sqrt Square
    SquaredDifference Sub Tanh TruncateDiv TruncateMod ZerosLike

    All Any ArgMax ArgMin EuclideanNorm Max Mean Min Prod Sum SegmentMax SegmentMean SegmentMin
    SegmentSum UnsortedSegmentMax UnsortedSegmentMin UnsortedSegmentSum

    BatchToSpace BatchToSpaceND Bitcast BroadcastArgs BroadcastTo Cast Concat ConcatOffset ConcatV2
    DepthToSpace Diag DynamicPartition DynamicStitch ExpandDims Fill Gather GatherNd GatherV2
    InvertPermutation LinSpace MatrixDiag MirrorPad OneHot Pack Pad PadV2 ParallelConcat
    ParallelDynamicStitch Range Rank Reshape ResourceGather Reverse ReverseSequence ReverseV2 Roll
    ScatterNd Select SelectV2 Shape ShapeN Size Slice Snapshot SpaceToBatch SpaceToBatchND
    SpaceToDepth Split SplitV Squeeze StridedSlice TensorScatterAdd TensorScatterUpdate Tile TopK
    TopKV2 Transpose Unique UniqueV2 Unpack Where

    AvgPool BatchMatMul BatchMatMulV2 BatchMatMulV3 BatchNormWithGlobalNormalization BiasAdd
    BiasAddV1 Conv2D Conv2DBackpropInput DepthwiseConv2dNative Dilation2D Einsum Elu FusedBatchNorm
    FusedBatchNormV2 FusedBatchNormV3 L2Loss LRN LeakyRelu LogSoftmax MatMul MaxPool MaxPoolV2 Relu
    Relu6 Selu Softmax Softplus Softsign

    AdjustContrastv2 CombinedNonMaxSuppression CropAndResize NonMaxSuppression NonMaxSuppressionV2
    NonMaxSuppressionV3 NonMaxSuppressionV4 NonMaxSuppressionV5 NonMaxSuppressionWithOverlaps
    ResizeArea ResizeBicubic ResizeBilinear ResizeNearestNeighbor

    Dequantize FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsPerChannel
    """.split()
)
"""Operators that compute tensors from tensors, and nothing else."""

RESTORING = CALLS | frozenset(
    "Assign AssignVariableOp Const Identity NoOp Placeholder PlaceholderWithDefault RestoreV2 "
    "VarHandleOp VariableV2".split()
)
"""Operators that read variables from a checkpoint."""
