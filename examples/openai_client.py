"""OpenAI's own client against `air serve`: thoughts, code, its output and the answer as they come.

python examples/openai_client.py http://127.0.0.1:8088/v1 chart.png "What is the mean?"
"""

import base64
import sys
from pathlib import Path

from openai import OpenAI

client = OpenAI(base_url=sys.argv[1], api_key="none")
picture = base64.b64encode(Path(sys.argv[2]).read_bytes()).decode()
content = [
    {"type": "input_image", "image_url": f"data:image/png;base64,{picture}", "detail": "auto"},
    {"type": "input_text", "text": sys.argv[3]},
]
with client.responses.stream(
    model=client.models.list().data[0].id,
    input=[{"role": "user", "content": content}],
    include=["code_interpreter_call.outputs"],
) as stream:
    for event in stream:
        print(getattr(event, "delta", ""), end="", flush=True)
print("\nanswer:", stream.get_final_response().output_text)
