"""For who asks a server: `from maskrcnn_client import Client`.

A guest in the waist: it shares the types and nothing there imports it. It needs `pip install
'maskrcnn-server[client]'`, for SageMaker `[sagemaker]` as well, and for `draw` `[draw]`.
"""

from maskrcnn_client.answer import Answer, Result
from maskrcnn_client.client import AsyncClient, Client

__all__ = ["Answer", "AsyncClient", "Client", "Result"]
