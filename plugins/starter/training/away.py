"""Tools for going out: weather, trains, restaurants, money, parcels."""

from __future__ import annotations

from patterns import integer, made, option, pattern, string
from values import LANDS, MONEY, OK, date, done, number, person, when, word
from words import COLOURS, DAYS, FOODS, JOBS, THINGS, TOWNS, made_up, words

AWAY = [
    pattern(
        "current_weather get_weather weather get_forecast forecast weather_forecast",
        "The weather forecast|Weather of a city on a day",
        {
            "city": string("city location place where", "The city|Where", TOWNS),
            "day": made("day date when", "The day", date),
        },
        (
            "What will the weather be in {city} on {day}?|Weather in {city}|How is the weather in {city}?|"
            "Forecast for {city} on {day}|What is the weather in {city}?|Is it nice in {city}?|"
            "Will it rain in {city}?"
        ),
        lambda r, _: r.choice(words("sunny cloudy rainy windy snowy foggy stormy clear")),
        "sky forecast weather condition",
        "It is {r} in {city}.",
    ),
    pattern(
        "get_time current_time time_in_city world_clock now",
        "The time in a city|Current local time",
        {"city": string("city place timezone location", "Where|The city", TOWNS)},
        "What time is it in {city}?|Time in {city}|Tell me the time in {city}.|How late is it in {city} now?",
        when,
        "time now result",
        "It is {r} in {city}.",
    ),
    pattern(
        "find_route directions get_directions route navigate",
        "Find the way|Directions from one place to another",
        {
            "a": string("from start origin source", "Where one starts", TOWNS),
            "b": string("to destination target end", "Where one wants to go", TOWNS),
        },
        (
            "How do I get from {a} to {b}?|Show me the way from {a} to {b}.|Directions from {a} to {b}|"
            "Route from {a} to {b}|I want to drive from {a} to {b}."
        ),
        number(1, 999),
        "minutes duration time",
        "From {a} to {b} it takes {r} minutes.",
    ),
    pattern(
        "find_train next_train train train_times search_trains",
        "Find a train|When the next train leaves",
        {
            "a": string("from origin start departure", "Station where it starts", TOWNS),
            "b": string("to destination arrival", "Station where it goes", TOWNS),
            "day": made("day date when", "Day of the trip", date),
        },
        (
            "When is the next train from {a} to {b}?|Find a train from {a} to {b} on {day}.|Trains from {a} to {b}|"
            "Is there a train from {a} to {b} on {day}?"
        ),
        when,
        "departure time leaves",
        "The train from {a} to {b} leaves at {r}.",
    ),
    pattern(
        "book_flight find_flight flight search_flights",
        "Find a flight|Book a flight",
        {
            "b": string("destination to city", "Where to fly", TOWNS),
            "day": made("date day on when", "Day of the flight", date),
        },
        (
            "Find a flight to {b} on {day}.|Book a flight to {b} on {day}.|I want to fly to {b} on {day}.|"
            "Flight to {b}, {day}"
        ),
        lambda r, _: f"{made_up(r).upper()[:2]}{r.randint(10, 999)}",
        "flight number result",
        "Flight {r} goes to {b}.",
    ),
    pattern(
        "find_restaurant restaurants search_restaurants eat_out",
        "Find a restaurant",
        {
            "food": string("cuisine food kind type", "What to eat|Kind of food", FOODS),
            "city": string("city location near place", "Where|The city", TOWNS),
        },
        (
            "Find a restaurant in {city}.|Where can I eat {food} in {city}?|Find {food} in {city}.|"
            "I want {food} in {city}."
        ),
        word,
        "name restaurant result",
        "I found {r}.",
    ),
    pattern(
        "distance get_distance how_far",
        "The distance between two places|How far it is",
        {
            "a": string("from a start place_a", "The first place", TOWNS),
            "b": string("to b end place_b", "The second place", TOWNS),
        },
        "How far is it from {a} to {b}?|Distance between {a} and {b}|What is the distance from {a} to {b}?",
        number(1, 9999),
        "km kilometres distance",
        "From {a} to {b} it is {r} km.",
    ),
    pattern(
        "get_population population people_in",
        "How many people live somewhere",
        {"city": string("city place country name", "Where", [*TOWNS, *LANDS])},
        "How many people live in {city}?|What is the population of {city}?|Population of {city}",
        number(100, 99999),
        "population people count",
        "{r} people live in {city}.",
    ),
    pattern(
        "is_open opening_hours open_hours check_open",
        "Whether a shop is open|Opening hours",
        {
            "shop": string("shop place name store", "Which shop", THINGS),
            "day": made("day date", "Which day", lambda r: r.choice(DAYS)),
        },
        "When does the {shop} shop open on {day}?|Is the {shop} shop open on {day}?|Opening hours of the {shop} shop",
        when,
        "opens from time",
        "It opens at {r}.",
    ),
    pattern(
        "find_person search_people find_worker hire",
        "Find somebody who can do a job",
        {
            "job": string("job profession role", "The job", JOBS),
            "city": string("city place near location", "Where", TOWNS),
        },
        "Find a {job} in {city}.|I need a {job} in {city}.|Is there a {job} in {city}?|Who is a good {job} in {city}?",
        person,
        "name person result",
        "I found {r}.",
    ),
    pattern(
        "convert_currency currency exchange convert_money currency_converter",
        "Convert money|Exchange one currency for another",
        {
            "n": integer("amount value money sum", "How much", 1, 9999),
            "a": string("from source from_currency base", "Currency that one has|From", MONEY),
            "b": string("to target to_currency into", "Currency that one wants|To", MONEY),
        },
        (
            "Convert {n} {a} to {b}.|How much is {n} {a} in {b}?|{n} {a} in {b}|Change {n} {a} into {b}.|"
            "What are {n} {a} in {b}?"
        ),
        number(1, 99999),
        "result amount value converted",
        "{n} {a} are {r} {b}.",
    ),
    pattern(
        "get_stock_price stock_price stock quote get_quote",
        "The price of a share|Look up a stock",
        {
            "what": made(
                "symbol ticker company name",
                "Ticker symbol|Which company",
                lambda r: made_up(r).upper()[: r.randint(3, 5)] if r.random() < 0.6 else made_up(r).capitalize(),
            )
        },
        (
            "What is the stock price of {what}?|How much is a share of {what}?|Price of {what} stock?|"
            "Get the stock price for {what}.|How is {what} doing on the stock market?"
        ),
        number(1, 999),
        "price value result",
        "The stock price of {what} is {r}.",
    ),
    pattern(
        "get_order order_status track_order check_order",
        "The state of an order|Track an order",
        {"n": integer("order_id id number order", "Number of the order", 1, 99999)},
        "Where is my order {n}?|What is the status of order {n}?|Track order {n}.|Check order {n}",
        lambda r, _: r.choice(words("open paid sent lost late ready")),
        "status state",
        "Order {n} is {r}.",
    ),
    pattern(
        "paint set_color change_colour colour_it",
        "Change the colour of something",
        {
            "what": string("object item thing name", "What to change", THINGS),
            "c": string("colour color", "The new colour", COLOURS),
        },
        "Paint the {what} {c}.|Make the {what} {c}.|Change the colour of the {what} to {c}.|Set the {what} to {c}.",
        done,
        OK,
        "The {what} is {c} now.",
    ),
    pattern(
        "move_robot move drive go robot_move",
        "Move the robot|Drive some way",
        {
            "d": option("direction way where", "Which way", "left right forward back up down"),
            "n": integer("distance steps metres amount", "How far", 1, 99),
        },
        "Go {n} steps {d}.|Move {d} by {n}.|Drive {n} metres {d}.|Move {n} {d}|Go {d}.",
        done,
        OK,
        "Done.",
    ),
]
