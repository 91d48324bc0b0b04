"""Tools for work: notes, mail, meetings, files, users, words."""

from __future__ import annotations

from patterns import integer, made, option, pattern, string
from values import LANGUAGES, OK, clock, date, done, number, person, topic, word
from words import NAMES, made_up, phrase, words

OFFICE = [
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
]
