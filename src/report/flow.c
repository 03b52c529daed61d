/* flow.c - drawings of time and of flows: chart_lanes() and chart_flow(). */
#include "report/chart.h"

#include <string.h>

#include "report/chart_inside.h"
#include "report/html.h"

static const char *text_of(const struct db_result *result, size_t row, size_t column)
{
    const char *value = column < db_columns(result) ? db_value(result, row, column) : NULL;

    return value != NULL ? value : "";
}

/* States differ in height too. */
static const struct lane_state {
    const char *name;
    int colour, height;
} lane_states[] = {{"down", 0, 20}, {"answered", 1, 6}, {"deferring", 2, 13}};

static void put_stretch(FILE *out, const struct db_result *result, size_t row, int middle)
{
    double scale = CHART_WIDTH - CHART_LEFT, from = chart_number(result, row, chart_column(result, "_from")) * scale;
    double width = chart_number(result, row, chart_column(result, "_to")) * scale - from;

    for (size_t i = 0; i < sizeof lane_states / sizeof *lane_states; i++) {
        const struct lane_state *state = &lane_states[i];

        if (strcmp(state->name, text_of(result, row, 1)) != 0)
            continue;
        fprintf(out, "<rect class=\"s%d\" x=\"%.2f\" y=\"%d\" width=\"%.2f\" height=\"%d\"><title>", state->colour,
                CHART_LEFT + from,
                middle - state->height / 2, width > 1 ? width : 1, state->height);
        for (size_t column = 0; column < 4; column++) {
            html_text(out, text_of(result, row, column));
            fputs(column == 0 ? ": " : column == 1 ? " since " : column == 2 ? " until " : "", out);
        }
        fputs("</title></rect>\n", out);
    }
}

void chart_lanes(FILE *out, const char *title, const struct db_result *result, const char *zone)
{
    enum { LANE_HEIGHT = 54, LANE_MIDDLE = 34 };
    static const char *const key[] = {"down", "answered", "deferring", NULL};
    int lanes = 0, lane = -1;

    for (size_t row = 0; row < db_rows(result); row++)
        lanes += row == 0 || strcmp(text_of(result, row, 0), text_of(result, row - 1, 0)) != 0;
    if (lanes == 0) {
        fputs("<p>No sensor told of a primary yet.</p>\n", out);
        return;
    }
    chart_begin(out, title, "plot", CHART_TOP + lanes * LANE_HEIGHT + CHART_LETTER);
    for (size_t row = 0; row < db_rows(result); row++) {
        int top;

        if (row == 0 || strcmp(text_of(result, row, 0), text_of(result, row - 1, 0)) != 0) {
            lane++;
            top = CHART_TOP + lane * LANE_HEIGHT;
            html_link_begin(out, result, row, zone);
            chart_text(out, CHART_LEFT, top + 12, "start", text_of(result, row, 0));
            html_link_end(out, result, row, zone);
            fprintf(out, "<path class=\"grid\" d=\"M%d %dH%d\"/>\n", CHART_LEFT, top + LANE_MIDDLE, CHART_WIDTH);
        }
        put_stretch(out, result, row, CHART_TOP + lane * LANE_HEIGHT + LANE_MIDDLE);
    }
    chart_text(out, CHART_LEFT, CHART_TOP + lanes * LANE_HEIGHT + CHART_LETTER - 6, "start",
               text_of(result, 0, chart_column(result, "_first")));
    chart_text(out, CHART_WIDTH, CHART_TOP + lanes * LANE_HEIGHT + CHART_LETTER - 6, "end",
               text_of(result, 0, chart_column(result, "_last")));
    chart_end(out);
    chart_key(out, result, key);
}

enum { NODES_MAX = 32, FLOWS_MAX = 48, LAYERS_MAX = 4, NODE_WIDTH = 12, FLOW_HEIGHT = 360, NODE_GAP = 22 };

struct node {
    const char *name;
    int layer;
    double in, out;        /* what comes and what goes */
    double y;              /* its top */
    double in_at, out_at;  /* where the next flow ends and begins */
};

struct flow {
    struct node *from, *to;
    double number;
    size_t row;
};

struct picture {
    struct node nodes[NODES_MAX];
    size_t node_count;
    struct flow flows[FLOWS_MAX];
    size_t flow_count;
    double scale; /* units for each one that flows */
};

static struct node *node_of(struct picture *picture, const char *name, int layer)
{
    for (size_t i = 0; i < picture->node_count; i++)
        if (picture->nodes[i].layer == layer && strcmp(picture->nodes[i].name, name) == 0)
            return &picture->nodes[i];
    if (picture->node_count == NODES_MAX)
        return NULL;
    picture->nodes[picture->node_count] = (struct node){.name = name, .layer = layer};
    return &picture->nodes[picture->node_count++];
}

static void take_flows(struct picture *picture, const struct db_result *result)
{
    size_t layer_column = chart_column(result, "_layer");

    for (size_t row = 0; row < db_rows(result) && picture->flow_count < FLOWS_MAX; row++) {
        double number = chart_number(result, row, 2);
        int layer = (int)chart_number(result, row, layer_column);
        struct flow flow = {.number = number, .row = row};

        if (number <= 0 || layer < 0 || layer + 1 >= LAYERS_MAX)
            continue;
        flow.from = node_of(picture, text_of(result, row, 0), layer);
        flow.to = node_of(picture, text_of(result, row, 1), layer + 1);
        if (flow.from == NULL || flow.to == NULL)
            continue;
        flow.from->out += number;
        flow.to->in += number;
        picture->flows[picture->flow_count++] = flow;
    }
}

static double node_size(const struct node *node)
{
    return node->in > node->out ? node->in : node->out;
}

/* The fullest layer is as high as the drawing; in each, nodes stand one under the other. */
static void lay_out(struct picture *picture)
{
    double sums[LAYERS_MAX] = {0}, y[LAYERS_MAX] = {0};
    int counts[LAYERS_MAX] = {0};

    for (size_t i = 0; i < picture->node_count; i++) {
        sums[picture->nodes[i].layer] += node_size(&picture->nodes[i]);
        counts[picture->nodes[i].layer]++;
    }
    picture->scale = 1e9;
    for (int i = 0; i < LAYERS_MAX; i++)
        if (sums[i] > 0 && (FLOW_HEIGHT - NODE_GAP * counts[i]) / sums[i] < picture->scale)
            picture->scale = (FLOW_HEIGHT - NODE_GAP * counts[i]) / sums[i];
    for (size_t i = 0; i < picture->node_count; i++) {
        struct node *node = &picture->nodes[i];

        node->y = node->in_at = node->out_at = CHART_TOP + y[node->layer];
        y[node->layer] += node_size(node) * picture->scale + NODE_GAP;
    }
}

static double layer_x(int layer)
{
    enum { LABEL_WIDTH = 150 };

    return (double)layer * (CHART_WIDTH - LABEL_WIDTH - NODE_WIDTH) / (LAYERS_MAX - 1);
}

static void put_flow(FILE *out, const struct picture *picture, const struct flow *flow, const struct db_result *result)
{
    double height = flow->number * picture->scale, x1 = layer_x(flow->from->layer) + NODE_WIDTH, x2 = layer_x(flow->to->layer);
    double y1 = flow->from->out_at, y2 = flow->to->in_at, middle = (x1 + x2) / 2;

    flow->from->out_at += height;
    flow->to->in_at += height;
    fprintf(out, "<path class=\"flow s%s\" d=\"M%.1f %.2fC%.1f %.2f %.1f %.2f %.1f %.2fV%.2fC%.1f %.2f %.1f %.2f %.1f"
                 " %.2fZ\"><title>",
            text_of(result, flow->row, chart_column(result, "_tone")), x1, y1, middle, y1, middle, y2, x2, y2, y2 + height,
                    middle, y2 + height,
            middle, y1 + height, x1, y1 + height);
    html_text(out, flow->from->name);
    fputs(", ", out);
    html_text(out, flow->to->name);
    fprintf(out, ": %.0f</title></path>\n", flow->number);
}

static void put_node(FILE *out, const struct picture *picture, const struct node *node)
{
    double height = node_size(node) * picture->scale, x = layer_x(node->layer);

    fprintf(out, "<rect class=\"node\" x=\"%.1f\" y=\"%.2f\" width=\"%d\" height=\"%.2f\"/>\n", x, node->y, NODE_WIDTH,
            height > 1 ? height : 1);
    fprintf(out, "<text x=\"%.1f\" y=\"%.1f\">", x + NODE_WIDTH + 5, node->y + (height > 14 ? height / 2 + 4 : 10));
    html_text(out, node->name);
    if (node->layer < LAYERS_MAX - 1)
        fprintf(out, " %.0f", node_size(node));
    fputs("</text>\n", out);
}

void chart_flow(FILE *out, const char *title, const struct db_result *result, const char *zone)
{
    struct picture picture = {.node_count = 0};

    (void)zone;
    take_flows(&picture, result);
    if (picture.flow_count == 0) {
        fputs("<p>Nothing came yet.</p>\n", out);
        return;
    }
    lay_out(&picture);
    /* Its words would be too small on a telephone: it is pushed aside there, which must be possible by keys. */
    fprintf(out, "<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"%s, drawn\">\n", title);
    chart_begin(out, title, "flows", CHART_TOP + FLOW_HEIGHT);
    for (size_t i = 0; i < picture.flow_count; i++)
        put_flow(out, &picture, &picture.flows[i], result);
    for (size_t i = 0; i < picture.node_count; i++)
        put_node(out, &picture, &picture.nodes[i]);
    chart_end(out);
    fputs("</div>\n", out);
}
