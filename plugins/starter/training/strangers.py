"""Tools that the training never shows, to measure how far what was learned reaches."""

from __future__ import annotations

from patterns import integer, made, option, pattern, string
from values import OK, clock, date, done, number, person, when, word
from words import ANIMALS, FOODS, NAMES, THINGS, TOWNS, made_up, phrase

STRANGERS = [
    pattern(
        "book_table reserve_table",
        "Reserve a table in a restaurant",
        {
            "where": string("restaurant place", "Name of the restaurant", NAMES),
            "n": integer("people guests party_size", "How many people", 2, 20),
            "time": made("time at", "When", clock),
        },
        (
            "Book a table at {where} for {n} people at {time}.|Reserve a table at {where} for {n}.|"
            "I need a table for {n} at {where} at {time}."
        ),
        done,
        OK,
        "Done.",
    ),
    pattern(
        "rent_bike hire_bike",
        "Rent bikes",
        {
            "n": integer("bikes count", "How many bikes", 1, 9),
            "hours": integer("hours duration", "For how many hours", 1, 12),
        },
        "Rent {n} bikes for {hours} hours.|I want to rent {n} bikes.",
        done,
        OK,
        "Done.",
    ),
    pattern(
        "brew_coffee make_coffee",
        "Make coffee",
        {
            "n": integer("cups amount", "How many cups", 1, 9),
            "s": option("strength kind", "How strong", "mild medium strong"),
        },
        "Make {n} cups of {s} coffee.|Brew {n} cups of coffee.",
        done,
        OK,
        "Done.",
    ),
    pattern(
        "launch_rocket start_rocket",
        "Launch a rocket",
        {
            "to": string("planet destination target", "Where it flies", TOWNS),
            "n": integer("crew astronauts", "How many fly along", 1, 9),
        },
        "Launch a rocket to {to} with a crew of {n}.|Send a rocket to {to}.",
        done,
        OK,
        "Done.",
    ),
    pattern(
        "adopt_dragon adopt_animal",
        "Adopt an animal",
        {"kind": string("species kind", "What animal", ANIMALS), "who": string("name called", "Its name", NAMES)},
        "Adopt a {kind} named {who}.|I want to adopt a {kind} called {who}.",
        done,
        OK,
        "Done.",
    ),
    pattern(
        "vacuum clean_floor start_vacuum",
        "Vacuum a room",
        {"room": string("room area", "Which room", THINGS)},
        "Vacuum the {room}.|Clean the floor of the {room}.|Can you vacuum the {room}?",
        done,
        OK,
        "Done.",
    ),
    pattern(
        "pay_bill transfer_money pay",
        "Pay money to somebody",
        {
            "who": string("to recipient payee", "Who gets the money", NAMES),
            "n": integer("amount sum", "How much", 13, 999),
        },
        "Pay {n} to {who}.|Transfer {n} to {who}.|Send {who} {n} euros.",
        done,
        OK,
        "Done.",
    ),
    pattern(
        "get_exchange_rate fx_rate",
        "The rate of a currency",
        {"c": made("currency code", "Three letters", lambda r: made_up(r).upper()[:3])},
        "What is the exchange rate of {c}?|Get the rate for {c}.",
        number(1, 99),
        "rate value",
        "The {k} is {r}.",
    ),
    pattern(
        "find_doctor search_doctor",
        "Find a doctor",
        {
            "kind": made("specialty field", "What the doctor treats", made_up),
            "city": string("city town", "Where", TOWNS),
        },
        "Find a {kind} doctor in {city}.|I need a doctor for {kind} in {city}.",
        person,
        "name doctor",
        "The {k} is {r}.",
    ),
    pattern(
        "start_race race",
        "Start a race",
        {
            "a": string("first runner_a", "The first runner", ANIMALS),
            "b": string("second runner_b", "The second runner", ANIMALS),
        },
        "Let the {a} race against the {b}.|Start a race between the {a} and the {b}.",
        word,
        "winner",
        "The {k} is {r}.",
    ),
    pattern(
        "bake_cake bake",
        "Bake something",
        {"what": string("recipe cake", "What to bake", FOODS), "n": integer("minutes time", "How long", 5, 90)},
        "Bake {what} for {n} minutes.|Please bake {what} for {n} minutes.",
        done,
        OK,
        "Done.",
    ),
    pattern(
        "check_visa visa_required",
        "Whether one needs a visa",
        {
            "a": string("nationality passport", "Whose passport", TOWNS),
            "b": string("country destination", "Where one travels", TOWNS),
        },
        "Do I need a visa for {b} with a passport from {a}?|Visa for {b} with a {a} passport?",
        word,
        "answer result",
        "The {k} is {r}.",
    ),
    pattern(
        "cast_spell spell",
        "Cast a spell",
        {"spell": made("spell name", "Which spell", made_up), "who": string("target victim", "On whom", NAMES)},
        "Cast {spell} on {who}.|Use the spell {spell} on {who}.",
        done,
        OK,
        "Done.",
    ),
    pattern(
        "close_ticket resolve_ticket",
        "Close a ticket",
        {
            "n": integer("ticket_id ticket", "Number of the ticket", 13, 9999),
            "why": made("reason comment", "Why", lambda r: phrase(r, 3)),
        },
        "Close ticket {n}.|Close ticket {n} with the reason {why}.|Resolve ticket {n}.",
        done,
        OK,
        "Done.",
    ),
    pattern(
        "measure_depth sonar",
        "Measure how deep the water is",
        {"where": string("lake sea water", "Which water", NAMES)},
        "How deep is {where}?|Measure the depth of {where}.",
        number(1, 999),
        "depth metres",
        "The {k} is {r}.",
    ),
    pattern(
        "get_tide tides",
        "When the tide is high",
        {"where": string("harbour port", "Which harbour", TOWNS), "day": made("day date", "Which day", date)},
        "When is high tide in {where} on {day}?|High tide in {where}?",
        when,
        "high_tide time",
        "The {k} is {r}.",
    ),
    pattern(
        "print_document print",
        "Print a document",
        {
            "f": made("document file", "What to print", lambda r: f"{made_up(r)}.pdf"),
            "n": integer("copies count", "How many copies", 1, 20),
        },
        "Print {n} copies of {f}.|Print {f}.|Please print {f}.",
        done,
        OK,
        "Done.",
    ),
    pattern(
        "plant_tree plant",
        "Plant a tree",
        {"kind": made("tree species", "What tree", made_up), "where": string("park place", "Where", NAMES)},
        "Plant a {kind} in {where}.|Plant a {kind} tree in {where}.",
        done,
        OK,
        "Done.",
    ),
]
