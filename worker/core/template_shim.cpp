/* SPDX-License-Identifier: MIT */
/* worker/core/template_shim.cpp - see template_shim.h. C++ because llama-common is. Its own log
 * (a thread that writes to stderr, and may quote messages) is turned off. */
#include "worker/core/template_shim.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>
#include <string>

#include "chat.h"
#include "llama.h"
#include "log.h"

struct template_shim {
    common_chat_templates_ptr templates;
};

namespace
{

void say(char *why, size_t n_why, const char *text)
{
    if (n_why > 0)
        snprintf(why, n_why, "%s", text);
}

common_chat_templates_inputs inputs_of(const template_shim_input *in)
{
    common_chat_templates_inputs to;

    to.messages = common_chat_msgs_parse_oaicompat(common_json::parse(in->messages));
    if (in->tools != nullptr)
        to.tools = common_chat_tools_parse_oaicompat(common_json::parse(in->tools));
    if (in->tools != nullptr && in->tool_choice != nullptr)
        to.tool_choice = common_chat_tool_choice_parse_oaicompat(in->tool_choice);
    if (in->kwargs != nullptr) {
        common_json kwargs = common_json::parse(in->kwargs);

        for (const auto &item : kwargs.items())
            to.chat_template_kwargs[item.key()] = item.value().dump();
    }
    to.enable_thinking = in->enable_thinking;
    to.add_bos = in->add_bos;
    to.add_eos = in->add_eos;
    to.use_jinja = true;
    return to;
}

} // namespace

struct template_shim *template_shim_open(const struct llama_model *model, char *why, size_t n_why)
{
    try {
        common_log_set_verbosity_thold(-1);
        auto s = new template_shim;

        s->templates = common_chat_templates_init(model, "");
        return s;
    } catch (const std::exception &e) {
        say(why, n_why, e.what());
    } catch (...) {
        say(why, n_why, "unknown error");
    }
    return nullptr;
}

void template_shim_close(struct template_shim *s)
{
    delete s;
}

int template_shim_render(const struct template_shim *s, const struct template_shim_input *in,
                         char **prompt, size_t *n, char *why, size_t n_why)
{
    try {
        const common_chat_params p = common_chat_templates_apply(s->templates.get(), inputs_of(in));

        *n = p.prompt.size();
        *prompt = static_cast<char *>(malloc(*n + 1));
        if (*prompt == nullptr)
            return -2;
        memcpy(*prompt, p.prompt.c_str(), *n + 1);
        return 0;
    } catch (const std::bad_alloc &) {
        return -2;
    } catch (const std::exception &e) {
        say(why, n_why, e.what());
    } catch (...) {
        say(why, n_why, "unknown error");
    }
    return -1;
}
