"""Tools that people write first: dice, lights, music, shopping lists, currencies, trains …"""

from __future__ import annotations

from random import Random
from typing import Any

from patterns import Maker, integer, made, option, pattern, string
from words import ANIMALS, COLOURS, DAYS, FOODS, JOBS, NAMES, PLACES, THINGS, TOWNS, made_up, phrase, pick, words

LANGUAGES = words("French German Spanish Italian Dutch Polish Greek Latin Turkish Swedish Danish Finnish Welsh")
MONEY = words("EUR USD GBP JPY CHF SEK NOK PLN CAD AUD euros dollars pounds yen francs crowns")
_ROOMS = words("kitchen bedroom bathroom hall office garage cellar attic garden balcony study")
_LANDS = words("France Italy Spain Germany Japan Egypt Norway Peru Kenya Canada Greece Poland Cuba Chile India China")
_SONGS = words("Yesterday,Imagine,Thunder,Hello,Blue Moon,Let It Be,Sunrise,Happy Birthday,Autumn Leaves", ",")


def number(low: int, high: int) -> Maker:
    """A whole number as a result."""
    return lambda r, _: r.randint(low, high)


def done(r: Random, _: bool) -> Any:
    """A result that says no more than that it was done."""
    return True


def word(r: Random, unseen: bool) -> Any:
    """A word or two as a result."""
    return " ".join(made_up(r) for _ in range(r.choice([1, 1, 2, 3])))


def person(r: Random, unseen: bool) -> Any:
    """A name as a result."""
    return pick(r, NAMES, unseen)


def date(r: Random) -> str:
    """A day in the form of ISO 8601, or of the week."""
    if r.random() < 0.4:
        return r.choice([*DAYS, "today", "tomorrow"])
    return f"{r.randint(2000, 2040)}-{r.randint(1, 12):02}-{r.randint(1, 28):02}"


def clock(r: Random) -> str:
    """A time of the day."""
    return r.choice([f"{r.randint(0, 23):02}:{r.randint(0, 59):02}", f"{r.randint(1, 12)} {r.choice(['am', 'pm'])}"])


def when(r: Random, unseen: bool) -> Any:
    """A time as a result."""
    return f"{r.randint(0, 23):02}:{r.randint(0, 59):02}"


def topic(r: Random) -> str:
    """Something to look for or to write down."""
    return phrase(r, 4)


OK = "ok done success sent saved"

EVERYDAY = [
    pattern(
        "roll_dice roll_dice roll_die dice throw_dice rollDice dice_roller",
        "Roll dice|Roll one or more dice|Throw dice",
        {
            "n": integer("count number dice num_dice rolls n", "How many dice|Number of dice", 1, 20),
            "s": integer("sides faces number_of_sides num_sides", "How many sides a die has|Number of sides", 2, 100),
        },
        (
            "Roll {n} dice.|roll {n} dice|Roll {n} dice with {s} sides.|Roll a die with {s} sides.|"
            "Roll a {s}-sided die.|Roll {n}d{s}|Throw {n} dice with {s} sides|Can you roll {n} dice?|"
            "Please roll a d{s}.|Roll the dice.|Roll a die.|Throw {n} dice.|I want to roll {n} dice.|"
            "Throw a {s} sided die"
        ),
        number(1, 200),
        "result total sum roll value",
        "You rolled {r}.",
    ),
    pattern(
        "flip_coin toss_coin coin_flip coin",
        "Flip a coin|Toss a coin",
        {},
        "Flip a coin.|Toss a coin.|Heads or tails?|Throw a coin.|Can you flip a coin?|flip a coin for me",
        lambda r, _: r.choice(["heads", "tails"]),
        "result side",
        "It is {r}.",
    ),
    pattern(
        "random_number get_random_number random randint pick_number",
        "A random number in a range|Draw a random number",
        {
            "a": integer("min low minimum start from", "Smallest number|Lowest value", 0, 50),
            "b": integer("max high maximum end to", "Largest number|Highest value", 51, 9999),
        },
        (
            "Give me a random number between {a} and {b}.|Pick a number from {a} to {b}.|"
            "Random number between {a} and {b}|Draw a number between {a} and {b}.|"
            "Choose a random number from {a} to {b}"
        ),
        number(0, 9999),
        "number result value",
        "The number is {r}.",
    ),
    pattern(
        "set_light switch_light light_switch toggle_light control_light",
        "Switch a light on or off|Control a light",
        {
            "room": string("room location name light", "The room|Which light", _ROOMS),
            "on": option("state mode power action", "Whether it is on|On or off", "on off"),
        },
        (
            "Turn {on} the light in the {room}.|Switch the light in the {room} {on}.|Turn the {room} light {on}.|"
            "Switch {on} the {room} light|Please turn {on} the light in the {room}.|Light {on} in the {room}"
        ),
        done,
        OK,
        "The light in the {room} is {on}.",
    ),
    pattern(
        "set_brightness dim_light set_light_level",
        "Set the brightness of a light",
        {
            "room": string("room light location", "The room|Which light", _ROOMS),
            "n": integer("level brightness percent value", "Percent|From 0 to 100", 0, 100),
        },
        (
            "Set the {room} light to {n} percent.|Dim the light in the {room} to {n}.|"
            "Set the brightness in the {room} to {n}%."
        ),
        done,
        OK,
        "The light in the {room} is at {n} percent.",
    ),
    pattern(
        "set_temperature set_thermostat thermostat heat_room",
        "Set the temperature of a room|Heat a room",
        {
            "room": string("room zone location", "The room|Where", _ROOMS),
            "n": integer("temperature degrees celsius value target", "Degrees", 5, 35),
        },
        (
            "Set the {room} to {n} degrees.|Heat the {room} to {n} degrees.|Make it {n} degrees in the {room}.|"
            "Set the temperature in the {room} to {n}.|I want {n} degrees in the {room}."
        ),
        done,
        OK,
        "The {room} is set to {n} degrees.",
    ),
    pattern(
        "play_song play_music play music_play playSong",
        "Play a song|Play music",
        {
            "song": made(
                "song title track query name",
                "Title of the song|What to play",
                lambda r: r.choice(_SONGS) if r.random() < 0.4 else phrase(r, 3),
            )
        },
        "Play {song}.|Play the song {song}.|play {song}|I want to hear {song}.|Put on {song}|Can you play {song}?",
        done,
        OK,
        "Now playing {song}.",
    ),
    pattern(
        "set_volume volume change_volume",
        "Set the volume|Change how loud it is",
        {"n": integer("level volume percent value", "From 0 to 100", 0, 100)},
        "Set the volume to {n}.|Volume {n}|Turn the volume to {n} percent.|Make the volume {n}.",
        done,
        OK,
        "The volume is at {n}.",
    ),
    pattern(
        "add_to_list add_item add_to_cart shopping_list_add addItem",
        "Add something to the shopping list|Put an item on a list",
        {
            "item": string("item product name thing", "What to add|The item", FOODS),
            "n": integer("quantity amount count number", "How many", 1, 40),
        },
        (
            "Add {item} to my shopping list.|Put {item} on the list.|Add {n} {item} to the list.|I need {item}.|"
            "Put {n} {item} on my shopping list.|Add {item}.|We need {n} {item}."
        ),
        done,
        OK,
        "I added {item}.",
    ),
    pattern(
        "add_todo create_task add_task new_task todo_add createTask",
        "Add something to do|Create a task",
        {
            "task": made("task title text description todo", "What to do|The task", topic),
            "day": made("day date due due_date when", "When it is due|Day", date),
        },
        (
            "Add a task: {task}|Add to my to-do list: {task}|New task: {task}|Create a task for {day}: {task}|"
            "Put this on my list for {day}: {task}|Task for {day}: {task}"
        ),
        done,
        OK,
        "I added the task: {task}",
    ),
    pattern(
        "set_reminder remind create_reminder add_reminder remind_me",
        "Set a reminder|Remind the user of something",
        {
            "text": made("text message what reminder note", "What to be reminded of|The text", topic),
            "time": made("time at when hour", "At what time|When", clock),
        },
        "Remind me at {time}: {text}|Set a reminder at {time}: {text}|Reminder for {time}: {text}",
        done,
        OK,
        "I will remind you at {time}.",
    ),
    pattern(
        "set_alarm alarm wake_up create_alarm",
        "Set an alarm|Wake the user",
        {"time": made("time at when hour", "When it rings|Time", clock)},
        (
            "Set an alarm for {time}.|Wake me at {time}.|Alarm at {time}|Please wake me up at {time}.|"
            "I must get up at {time}."
        ),
        done,
        OK,
        "The alarm is set for {time}.",
    ),
    pattern(
        "save_note create_note write_note take_note add_note",
        "Save a note|Write something down",
        {"text": made("text note content body", "What to write|The note", topic)},
        "Write this down: {text}|Take a note: {text}|Save the note: {text}|Note: {text}|Make a note: {text}",
        done,
        OK,
        "I saved the note.",
    ),
    pattern(
        "create_event add_event schedule_meeting calendar_add new_event",
        "Add an event to the calendar|Plan a meeting",
        {
            "what": made("title name event summary", "Name of the event|What it is", lambda r: phrase(r, 3)),
            "day": made("date day when start", "The day", date),
            "time": made("time hour at", "Time of the day|When it begins", clock),
        },
        (
            "Add {what} on {day} at {time}.|Put {what} in my calendar on {day} at {time}.|"
            "Schedule {what} for {day} at {time}.|Plan {what} on {day}.|Add an event on {day}: {what}"
        ),
        done,
        OK,
        "{what} is in the calendar.",
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
        "send_email email send_mail write_email mail",
        "Send an email|Write a mail to somebody",
        {
            "to": string("to recipient address person", "Who gets it|Recipient", NAMES),
            "subject": made("subject title about", "The subject", lambda r: phrase(r, 3)),
            "text": made("body text message content", "What it says|The text", topic),
        },
        (
            "Send an email to {to}: {text}|Email {to}: {text}|Write a mail to {to} about {subject}: {text}|"
            "Send {to} an email with the subject {subject}: {text}|Mail {to}: {text}"
        ),
        done,
        OK,
        "I sent the email to {to}.",
    ),
    pattern(
        "call_phone call phone make_call dial",
        "Call somebody|Make a phone call",
        {"who": string("name person contact who", "Whom to call|Name", NAMES)},
        "Call {who}.|Please call {who}.|Phone {who}|I want to talk to {who}.|Ring {who}.|Can you call {who} for me?",
        done,
        OK,
        "I am calling {who}.",
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
        "open_door lock_door door control_door",
        "Open or lock a door",
        {
            "door": string("door name which room", "Which door", _ROOMS),
            "how": option("action state command", "What to do", "open close lock unlock"),
        },
        "Please {how} the {door} door.|I want you to {how} the door of the {door}.|Can you {how} the {door} door?",
        done,
        OK,
        "Done.",
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
        {"city": string("city place country name", "Where", [*TOWNS, *_LANDS])},
        "How many people live in {city}?|What is the population of {city}?|Population of {city}",
        number(100, 99999),
        "population people count",
        "{r} people live in {city}.",
    ),
    pattern(
        "define_word define dictionary lookup_word meaning",
        "Look a word up in a dictionary|What a word means",
        {"w": made("word term text", "The word", made_up)},
        "What does {w} mean?|Define {w}.|Look up the word {w}.|Meaning of {w}",
        word,
        "definition meaning result",
        "It means: {r}.",
    ),
    pattern(
        "get_user find_user user_info load_user",
        "Load a user|Facts about a user by number",
        {"n": integer("id user_id number", "Number of the user", 1, 9999)},
        "Who is user {n}?|Show me user {n}.|Load user {n}.|Get the user with id {n}.",
        person,
        "name user",
        "User {n} is {r}.",
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
        "create_user add_user new_user register_user",
        "Create a user|Register somebody",
        {
            "who": string("name username user", "Name of the user", NAMES),
            "n": integer("age years", "Age in years", 5, 99),
            "role": option("role kind type", "What the user may do", "admin editor guest"),
        },
        (
            "Create a user named {who}.|Add the user {who}, {n} years old.|Register {who} as {role}.|"
            "New user {who}, age {n}, role {role}"
        ),
        number(1, 9999),
        "id user_id",
        "{who} has the id {r}.",
    ),
    pattern(
        "delete_file remove_file rm trash",
        "Delete a file",
        {
            "f": made(
                "path file filename name",
                "Which file",
                lambda r: f"{made_up(r)}.{r.choice(words('txt pdf py md csv'))}",
            )
        },
        "Delete {f}.|Remove the file {f}.|Please delete the file {f}.",
        done,
        OK,
        "I deleted {f}.",
    ),
    pattern(
        "read_file open_file load_file cat",
        "Read a file|What a file holds",
        {
            "f": made(
                "path file filename name",
                "Which file",
                lambda r: f"{made_up(r)}.{r.choice(words('txt pdf py md csv json'))}",
            )
        },
        "Read {f}.|What is in {f}?|Open the file {f}.|Show me {f}.|What does {f} say?",
        word,
        "text content data",
        "It says: {r}.",
    ),
    pattern(
        "list_files ls files dir",
        "List the files of a folder",
        {"f": made("folder path directory", "Which folder", made_up)},
        "Which files are in {f}?|List the files in {f}.|What is in the folder {f}?",
        word,
        "files result",
        "There is: {r}.",
    ),
    pattern(
        "run_query sql query_database db_query",
        "Ask the database|Count the rows of a table",
        {"t": made("table name from", "Name of the table", made_up)},
        "How many rows has the table {t}?|Count the rows of {t}.|Count {t} in the database.",
        number(0, 9999),
        "count rows result",
        "{t} has {r} rows.",
    ),
    pattern(
        "order_food order_meal food_order",
        "Order something to eat",
        {
            "n": integer("count number quantity amount", "How many", 1, 12),
            "food": string("dish food item meal", "What to eat", FOODS),
        },
        "Order {n} {food}.|I would like {n} {food}.|Order {food}.|Please order {n} {food} for me.|Get me {food}.",
        done,
        OK,
        "I ordered {food}.",
    ),
    pattern(
        "find_book book_search library search_books",
        "Find a book|Search the library",
        {
            "who": string("author by writer", "Who wrote it", NAMES),
            "what": made("title topic subject", "Title or topic", lambda r: phrase(r, 2)),
        },
        (
            "Find a book by {who}.|Find a book about {what}.|Is there a book by {who} about {what}?|"
            "Search for books by {who}"
        ),
        word,
        "title book result",
        "I found this book: {r}.",
    ),
    pattern(
        "water_plant water irrigate",
        "Water the plants",
        {
            "where": string("place where zone location", "Where", PLACES),
            "n": integer("minutes duration time", "For how many minutes", 1, 60),
        },
        "Water the {where} for {n} minutes.|Give the {where} water for {n} minutes.|Please water the {where}.",
        done,
        OK,
        "The {where} gets water.",
    ),
    pattern(
        "feed_pet feed give_food",
        "Feed an animal",
        {
            "pet": string("pet animal name", "Which animal", ANIMALS),
            "food": string("food what meal", "What it eats", FOODS),
        },
        "Feed the {pet}.|Give the {pet} some {food}.|Feed {food} to the {pet}.",
        done,
        OK,
        "The {pet} has eaten.",
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
    pattern(
        "take_photo photo camera snapshot",
        "Take a photo",
        {"where": string("camera place room", "Which camera", _ROOMS)},
        "Take a photo in the {where}.|Take a picture of the {where}.|Show me the {where} camera.",
        lambda r, _: f"{made_up(r)}.jpg",
        "file photo path",
        "The photo is {r}.",
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
        "count_words word_count count length",
        "Count the words of a text",
        {"text": made("text string input", "The text", lambda r: phrase(r, 6))},
        "How many words are in this: {text}|Count the words: {text}|Word count of: {text}",
        number(1, 9),
        "count words result",
        "It has {r} words.",
    ),
    pattern(
        "reverse_text reverse flip_text",
        "Turn a text around",
        {"text": made("text string input word", "The text", made_up)},
        "Reverse {text}.|Turn {text} around.|Write {text} backwards.|What is {text} backwards?",
        word,
        "result text",
        "{r}",
    ),
    pattern(
        "translate translate_text translator",
        "Translate a text into another language",
        {
            "text": made("text sentence input what", "What to translate", lambda r: phrase(r, 4)),
            "to": string("language to target target_language lang", "Into which language", LANGUAGES),
        },
        (
            "Translate into {to}: {text}|Translate this to {to}: {text}|How do you say this in {to}: {text}|"
            "Say in {to}: {text}"
        ),
        word,
        "translation text result",
        "In {to}: {r}",
    ),
    pattern(
        "charge_car charge battery_charge",
        "Charge the car",
        {"n": integer("percent level target to", "Up to how many percent", 10, 100)},
        "Charge the car to {n} percent.|Charge my car up to {n}%.|Load the car to {n}.",
        done,
        OK,
        "The car charges to {n} percent.",
    ),
    pattern(
        "get_temperature read_sensor sensor room_temperature",
        "How warm it is in a room",
        {"room": string("room sensor location", "Which room", _ROOMS)},
        "How warm is it in the {room}?|What is the temperature in the {room}?|Temperature in the {room}",
        number(-9, 39),
        "degrees temperature value",
        "It is {r} degrees in the {room}.",
    ),
    pattern(
        "set_mode mode change_mode",
        "Change the mode of the house",
        {"m": option("mode name", "Which mode", "home away night party")},
        "Switch to {m} mode.|Set the mode to {m}.|Mode {m}|Change to {m} mode, please.",
        done,
        OK,
        "The mode is {m}.",
    ),
]
