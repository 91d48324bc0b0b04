"""Tools for a home: dice, lights, music, shopping, alarms."""

from __future__ import annotations

from patterns import integer, made, option, pattern, string
from values import OK, ROOMS, SONGS, clock, done, number, topic
from words import ANIMALS, FOODS, PLACES, made_up, phrase

HOME = [
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
        "set_light switch_light light_switch toggle_light control_light",
        "Switch a light on or off|Control a light",
        {
            "room": string("room location name light", "The room|Which light", ROOMS),
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
            "room": string("room light location", "The room|Which light", ROOMS),
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
            "room": string("room zone location", "The room|Where", ROOMS),
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
                lambda r: r.choice(SONGS) if r.random() < 0.4 else phrase(r, 3),
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
        "open_door lock_door door control_door",
        "Open or lock a door",
        {
            "door": string("door name which room", "Which door", ROOMS),
            "how": option("action state command", "What to do", "open close lock unlock"),
        },
        "Please {how} the {door} door.|I want you to {how} the door of the {door}.|Can you {how} the {door} door?",
        done,
        OK,
        "Done.",
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
        "take_photo photo camera snapshot",
        "Take a photo",
        {"where": string("camera place room", "Which camera", ROOMS)},
        "Take a photo in the {where}.|Take a picture of the {where}.|Show me the {where} camera.",
        lambda r, _: f"{made_up(r)}.jpg",
        "file photo path",
        "The photo is {r}.",
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
        {"room": string("room sensor location", "Which room", ROOMS)},
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
