"""Chat templates that show tools, in the shapes that published families have; written here, for the tiny tokenizer."""

from __future__ import annotations

HERMES = (
    "{% if tools %}<|im_start|>system\n{% if messages[0].role == 'system' %}{{ messages[0].content }}\n\n{% endif %}"
    "<tools>{% for tool in tools %}{{ '\n' }}{{ tool | tojson }}{% endfor %}{{ '\n</tools>' }}<|im_end|>\n"
    "{% elif messages[0].role == 'system' %}<|im_start|>system\n{{ messages[0].content }}<|im_end|>\n{% endif %}"
    "{% for m in messages %}"
    "{% if m.role == 'user' or (m.role == 'assistant' and not m.tool_calls) %}"
    "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
    "{% elif m.role == 'assistant' %}<|im_start|>assistant{% if m.content %}{{ '\n' + m.content }}{% endif %}"
    "{% for c in m.tool_calls %}{% set c = c.function if c.function else c %}"
    '{{ \'\n<tool_call>\n{"name": "\' + c.name + \'", "arguments": \' }}{{ c.arguments | tojson }}'
    "{{ '}\n</tool_call>' }}{% endfor %}<|im_end|>\n"
    "{% elif m.role == 'tool' %}{% if messages[loop.index0 - 1].role != 'tool' %}<|im_start|>user{% endif %}"
    "{{ '\n<tool_response>\n' }}{{ m.content }}{{ '\n</tool_response>' }}"
    "{% if loop.last or messages[loop.index0 + 1].role != 'tool' %}<|im_end|>\n{% endif %}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""As Qwen2.5 and Hermes: calls between tags, results as the user's."""
LLAMA = (
    "{% set rest = messages[1:] if messages[0].role == 'system' else messages %}"
    "<|im_start|>system\n\n{% if messages[0].role == 'system' %}{{ messages[0].content | trim }}{% endif %}<|im_end|>"
    "{% if tools %}<|im_start|>user\n\nYou have functions.\n\n{% for t in tools %}{{ t | tojson(indent=4) }}\n\n"
    "{% endfor %}{{ rest[0].content | trim }}<|im_end|>{% set rest = rest[1:] %}{% endif %}"
    "{% for m in rest %}{% if m.role == 'tool' %}<|im_start|>ipython\n\n"
    "{% if m.content is mapping or m.content is iterable %}{{ m.content | tojson }}{% else %}{{ m.content }}{% endif %}"
    "<|im_end|>{% elif 'tool_calls' in m %}"
    "{% if m.tool_calls | length != 1 %}{{ raise_exception('one call at a time') }}{% endif %}"
    "{% set c = m.tool_calls[0].function %}<|im_start|>assistant\n\n"
    '{{ \'{"name": "\' + c.name + \'", "parameters": \' }}{{ c.arguments | tojson }}}<|im_end|>'
    "{% else %}<|im_start|>{{ m.role }}\n\n{{ m.content | trim }}<|im_end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n\n{% endif %}"
)
"""As Llama 3.1: tools in the first question, one call a turn without words, results as JSON text."""
MISTRAL = (
    "{% set rest = messages[1:] if messages[0].role == 'system' else messages %}"
    "{% set asked = rest | selectattr('role', 'equalto', 'user') | list %}<|endoftext|>"
    "{% for m in rest %}{% if m.role == 'user' %}"
    "{% if tools and m == asked[-1] %}[AVAILABLE_TOOLS] {{ tools | tojson }}[/AVAILABLE_TOOLS]{% endif %}[INST] "
    "{% if m == asked[-1] and messages[0].role == 'system' %}{{ messages[0].content }}\n\n{% endif %}"
    "{{ m.content }}[/INST]"
    "{% elif m.tool_calls %}[TOOL_CALLS] [{% for c in m.tool_calls %}"
    '{{ (c.function | tojson)[:-1] }}, "id": "{{ c.id }}"}'
    "{% if c.id | length != 9 %}{{ raise_exception('ids of 9 characters') }}{% endif %}"
    "{% if not loop.last %}, {% endif %}{% endfor %}]<|im_end|>"
    "{% elif m.role == 'assistant' %} {{ m.content }}<|im_end|>"
    '{% elif m.role == \'tool\' %}[TOOL_RESULTS] {"content": {{ m.content }}, "call_id": "{{ m.tool_call_id }}"}'
    "[/TOOL_RESULTS]{% endif %}{% endfor %}"
)
"""As Mistral's: no request, tools before the last question, ids of nine characters."""
THINKS = HERMES.replace(
    "<|im_start|>assistant{% if m.content %}{{ '\n' + m.content }}{% endif %}",
    "<|im_start|>assistant\n{% if loop.last %}<think>\n\n</think>\n\n{% endif %}{{ m.content }}",
).replace(
    "<|im_start|>{{ m.role }}\n{{ m.content }}",
    "<|im_start|>{{ m.role }}\n{% if loop.last and m.role == 'assistant' %}<think>\n\n</think>\n\n{% endif %}"
    "{{ m.content }}",
)
"""As Qwen3: an empty thought before what is said last, alone."""
UNTHINKING = THINKS.replace("assistant\n{% endif %}", "assistant\n<think>\n\n</think>\n\n{% endif %}")
"""As Qwen3.5 without thoughts: the request has the empty one."""
GLUED = THINKS.replace("<think>\n\n</think>\n\n", "<think></think>").replace(
    "assistant\n{% endif %}", "assistant\n<think>\n{% endif %}"
)
"""As Nemotron's: the thought that the request begins is closed in the same line."""
TEXTUAL = HERMES.replace("{{ c.arguments | tojson }}", "{{ '' + c.arguments }}").replace(
    "{% elif m.role == 'assistant' %}", "{% elif m.role == 'assistant' and m.content is none %}"
)
"""As DeepSeek's: arguments are text that is written as it stands, and a turn with calls has a content that is none."""
NAMELESS = HERMES.replace("</tool_call>' }}{% endfor %}<|im_end|>\n", "</tool_call>' }}{% endfor %}")
"""As GLM-4's: what begins the next turn ends one with calls."""
DEAF = HERMES.replace("{{ tool | tojson }}", "a tool")
MUTE = HERMES.replace("{{ c.arguments | tojson }}", "...")
CHANGED = HERMES.replace(
    "{% elif m.role == 'assistant' %}<|im_start|>assistant", "{% elif m.role == 'assistant' %}<|im_start|>caller"
)
