#include "reproduction/searches.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "calibration/selection_files.h"
#include "engine/plan_files.h"
#include "model/backend_info.h"
#include "report/result_frame.h"

namespace orthorank {

namespace {

SelectionSettings settings_of(const Workshop &workshop, const SearchRecipe &recipe) {
    const Model &model = workshop.model();
    SelectionSettings settings;
    settings.method = recipe.method;
    settings.change = recipe.change;
    settings.plus = workshop.recipes().is_plus();
    settings.race = workshop.budget().races && recipe.method == SelectionMethod::sleb;
    settings.model_name = model.hparams().name;
    settings.fingerprint = model.fingerprint();
    settings.file_type = model.type_in_use();
    settings.kv_type = workshop.options().kv_type;
    settings.kernels = kernels_used(model, workshop.options().engine.kernels);
    settings.device = device_identity(model);
    settings.n_model_layers = model.hparams().n_layers;
    settings.calibration = workshop.sources().calibration.at(recipe.n_tokens).description;
    return settings;
}

std::string order_file(const Workshop &workshop, const std::string &search) {
    return workshop.file("searches/" + search + ".json");
}

// One-shot orders are measured whole, whatever is needed of them.
bool is_finished(const LayerOrder &order, const SearchRecipe &recipe, const Workshop &workshop,
                 int n_rounds) {
    const size_t n = recipe.method == SelectionMethod::sleb
                         ? static_cast<size_t>(n_rounds)
                         : eligible_layers(recipe.method, workshop.recipes().is_plus(),
                                           workshop.recipes().n_layers())
                               .size();
    return order.rounds.size() >= n;
}

LayerOrder continued(Workshop &workshop, const SearchRecipe &recipe,
                     const SelectionSettings &settings, LayerOrder done, int n_rounds,
                     const OnFraction &on_fraction) {
    const Windows &windows = workshop.sources().calibration.at(recipe.n_tokens).windows;
    const std::string path = order_file(workshop, recipe.name);
    LayerSelectionOptions options;
    options.method = recipe.method;
    options.change = recipe.change;
    options.n_layers = n_rounds;
    options.plus = settings.plus;
    options.race = settings.race;
    options.done = std::move(done);
    options.should_stop = workshop.options().should_stop;
    options.on_progress = [&](double fraction, const LayerOrder &) { on_fraction(fraction); };
    options.on_round = [&](const LayerOrder &order) { write_partial(settings, order, path); };
    return select_layers(workshop.engine(windows.n_ctx), windows, options);
}

void make_plans(Workshop &workshop, const std::string &search, const SelectionSettings &settings,
                const LayerOrder &order, const std::set<std::string> &plans) {
    const auto folder = std::filesystem::path(workshop.options().folder) / "plans";
    std::error_code ignored;
    std::filesystem::create_directories(folder, ignored);
    for (const std::string &name : plans) {
        const PlanRecipe &recipe = workshop.recipes().plan(name);
        if (recipe.search != search) {
            continue;
        }
        const Plan plan =
            made_plan(recipe, plan_of_order(settings, order, recipe.n_layers, {}, {}));
        write_plan_files(plan, (folder / (name + ".json")).string());
        workshop.findings().plans[name].plan = plan;
    }
}

}  // namespace

int rounds_needed(const Recipes &recipes, const std::set<std::string> &plans,
                  const std::string &search) {
    int n_rounds = 0;
    for (const std::string &name : plans) {
        const PlanRecipe &plan = recipes.plan(name);
        if (plan.search == search) {
            n_rounds = std::max(n_rounds, plan.n_layers);
        }
    }
    return n_rounds;
}

int rounds_kept(const Workshop &workshop, const std::string &search) {
    const SearchRecipe &recipe = workshop.recipes().search(search);
    const std::optional<LayerOrder> order =
        read_partial(settings_of(workshop, recipe), order_file(workshop, search));
    return order ? static_cast<int>(order->rounds.size()) : 0;
}

void run_search(Workshop &workshop, const std::string &search, int n_rounds,
                const std::set<std::string> &plans, const OnFraction &on_fraction) {
    const SearchRecipe &recipe = workshop.recipes().search(search);
    const SelectionSettings settings = settings_of(workshop, recipe);
    const std::string path = order_file(workshop, search);
    LayerOrder order = read_partial(settings, path).value_or(LayerOrder{});
    if (!is_finished(order, recipe, workshop, n_rounds)) {
        order = continued(workshop, recipe, settings, std::move(order), n_rounds, on_fraction);
    }
    if (recipe.method != SelectionMethod::sleb) {
        order.rounds = one_shot_order(order.rounds);
    }
    make_plans(workshop, search, settings, order, plans);
}

}  // namespace orthorank
