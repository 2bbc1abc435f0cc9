"""Chat templates with what the families' real ones do: roles, turns that must alternate, tools, thinking."""

from __future__ import annotations

_LLAMA = """\
{%- for message in messages %}
{{- '<|' + message['role'] + '|>\\n' + message['content'] + eos_token + '\\n' }}
{%- if loop.last and add_generation_prompt %}{{- '<|assistant|>\\n' }}{%- endif %}
{%- endfor %}"""

_MISTRAL = """\
{{- bos_token }}
{%- for message in messages %}
{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{- raise_exception('Roles must alternate: user, assistant, user, assistant') }}
{%- endif %}
{%- if message['role'] == 'user' %}{{- '[INST] ' + message['content'] + ' [/INST]' }}
{%- else %}{{- message['content'] + eos_token + ' ' }}
{%- endif %}
{%- endfor %}"""

_QWEN2 = """\
{%- if tools %}
{{- '<|im_start|>system\\nTools:\\n' }}
{%- for tool in tools %}{{- tool | tojson }}{{- '\\n' }}{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- elif messages[0]['role'] != 'system' %}{{- '<|im_start|>system\\nBe brief.<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if documents %}{{- '<|im_start|>documents\\n' + documents | map(attribute='text') | join(' | ') + '<|im_end|>\\n' }}
{%- endif %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""

_GEMMA3 = """\
{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- set first = messages[0]['content'] + '\\n\\n' -%}
    {%- set turns = messages[1:] -%}
{%- else -%}
    {%- set first = '' -%}
    {%- set turns = messages -%}
{%- endif -%}
{%- for message in turns -%}
    {%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}
    {{ '<start_of_turn>' + role + '\\n' + (first if loop.first else '') }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- else -%}
        {%- for item in message['content'] -%}{{ item['text'] | trim }}{%- endfor -%}
    {%- endif -%}
    {{ '<end_of_turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<start_of_turn>model\\n' }}{%- endif -%}
"""

_SMOLLM3 = """\
{%- set thinks = enable_thinking | default(true) %}
{{- '<|im_start|>system\\nToday is the day. Mode: ' + ('/think' if thinks else '/no_think') + '<|im_end|>\\n' }}
{%- for message in messages %}
{%- if message.role == 'assistant' %}
{% generation %}{{- '<|im_start|>assistant\\n' + message.content + '<|im_end|>\\n' }}{% endgeneration %}
{%- else %}{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- if not thinks %}{{- '<think>\\n\\n</think>\\n' }}{%- endif %}
{%- endif %}
"""

TEMPLATES = {
    "llama": ("config", _LLAMA),
    "mistral": ("config", _MISTRAL),
    "qwen2": ("config", _QWEN2),
    "qwen3": ("config", _QWEN2),
    "gemma2": ("config", _GEMMA3),
    "gemma3": ("file", _GEMMA3),
    "smollm3": ("file", _SMOLLM3),
}
"""Family -> where the template lies (`tokenizer_config.json` or `chat_template.jinja`), and the template."""
