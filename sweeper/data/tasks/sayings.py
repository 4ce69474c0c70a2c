"""Unfinished sayings and plain facts, each with the word that ends it; written for this project."""

SAYINGS = """
The early bird catches the | worm
A picture is worth a thousand | words
Actions speak louder than | words
Don't put all your eggs in one | basket
Rome was not built in a | day
Practice makes | perfect
Honesty is the best | policy
All that glitters is not | gold
When in Rome, do as the | Romans
The pen is mightier than the | sword
You can't judge a book by its | cover
An apple a day keeps the doctor | away
Birds of a feather flock | together
Better late than | never
Where there is smoke, there is | fire
Time is | money
Knowledge is | power
Laughter is the best | medicine
Curiosity killed the | cat
Beauty is in the eye of the | beholder
Two heads are better than | one
Every cloud has a silver | lining
Absence makes the heart grow | fonder
The grass is always greener on the other | side
Necessity is the mother of | invention
A penny saved is a penny | earned
Blood is thicker than | water
Don't count your chickens before they | hatch
Out of sight, out of | mind
Home is where the heart | is
Too many cooks spoil the | broth
Let sleeping dogs | lie
Look before you | leap
The apple doesn't fall far from the | tree
You can't teach an old dog new | tricks
A friend in need is a friend | indeed
Easy come, easy | go
No pain, no | gain
It takes two to | tango
Ignorance is | bliss
Love is | blind
Once upon a | time
They lived happily ever | after
Ladies and | gentlemen
Salt and | pepper
Bread and | butter
Black and | white
He was caught between a rock and a hard | place
It was raining cats and | dogs
She was as busy as a | bee
He was as blind as a | bat
The box was as light as a | feather
He slept like a | baby
It was a piece of | cake
Break a | leg
He let the cat out of the | bag
She hit the nail on the | head
That was the last | straw
It costs an arm and a | leg
He bit off more than he could | chew
Speak of the | devil
It is the tip of the | iceberg
He is barking up the wrong | tree
Kill two birds with one | stone
She is on cloud | nine
It was love at first | sight
He had a change of | heart
In the nick of | time
She has butterflies in her | stomach
He kicked the | bucket
The ball is in your | court
She added fuel to the | fire
He was born with a silver spoon in his | mouth
Let us get down to | business
There is light at the end of the | tunnel
The proof of the pudding is in the | eating
Snow is | white
Grass is | green
Lemons are | yellow
Blood is | red
Coal is | black
Ice is | cold
Fire is | hot
Sugar is | sweet
The sun rises in the | east
The sun sets in the | west
The earth revolves around the | sun
The moon orbits the | Earth
Water freezes and turns into | ice
Cows produce | milk
Hens lay | eggs
Bees make | honey
Sheep give us | wool
Spiders spin | webs
Fish swim in the | water
Birds fly in the | sky
A baby dog is called a | puppy
A baby cat is called a | kitten
A baby cow is called a | calf
A baby sheep is called a | lamb
A baby bear is called a | cub
The king of the jungle is the | lion
Dogs like to chew on a | bone
We see with our | eyes
We hear with our | ears
We smell with our | nose
We chew food with our | teeth
The heart pumps | blood
The fingers are part of the | hand
The toes are part of the | foot
You wear shoes on your | feet
You wear gloves on your | hands
You wear a hat on your | head
He wore a watch on his | wrist
She put the ring on her | finger
A year has twelve | months
A week has seven | days
An hour has sixty | minutes
A minute has sixty | seconds
A century is one hundred | years
A decade is ten | years
The first month of the year is | January
The last month of the year is | December
The day after Monday is | Tuesday
The day before Sunday is | Saturday
The day after Thursday is | Friday
A triangle has three | sides
A bicycle has two | wheels
An octopus has eight | arms
A spider has eight | legs
A pilot flies a | plane
A doctor works in a | hospital
A teacher works in a | school
A judge works in a | court
A farmer works on a | farm
A chef works in a | kitchen
A librarian works in a | library
A sailor works on a | ship
A dentist takes care of your | teeth
A baker bakes | bread
A writer writes | books
A painter paints | pictures
A carpenter works with | wood
A singer sings | songs
A photographer takes | photos
A fisherman catches | fish
A postman delivers the | mail
You borrow books from a | library
You keep milk in the | refrigerator
You keep your money in a | bank
You cut paper with a pair of | scissors
You cut bread with a | knife
You eat soup with a | spoon
You hit a nail with a | hammer
You dig a hole with a | shovel
You write on paper with a | pen
You sweep the floor with a | broom
You open a locked door with a | key
You tell the time with a | clock
You sleep in a | bed
You sit on a | chair
You wash your hands with soap and | water
You brush your teeth with a | toothbrush
You dry yourself with a | towel
You take pictures with a | camera
You watch movies on a | screen
You pay for things with | money
You protect yourself from rain with an | umbrella
Wine is made from | grapes
Bread is made from | flour
Cheese is made from | milk
Paper is made from | wood
Glass is made from | sand
Butter is made from | milk
Raisins are dried | grapes
French fries are made from | potatoes
Ketchup is made from | tomatoes
Chocolate is made from | cocoa
Honey is made by | bees
Trees have branches and | leaves
Plants grow from | seeds
Flowers bloom in the | spring
Leaves fall from the trees in | autumn
It snows in the | winter
Stars shine at | night
The sky on a clear day is | blue
The capital of France is | Paris
The Eiffel Tower is in | Paris
The pyramids are in | Egypt
The Great Wall is in | China
The White House is in | Washington
The Statue of Liberty is in New | York
Kangaroos live in | Australia
Shakespeare wrote Romeo and | Juliet
Einstein developed the theory of | relativity
Newton discovered the law of | gravity
Darwin proposed the theory of | evolution
Neil Armstrong was the first man to walk on the | moon
George Washington was the first president of the United | States
Christmas is celebrated in | December
Children open presents on | Christmas
On Halloween, children dress up in | costumes
People blow out candles on their | birthday
The bride wore a white | dress
The police officer arrested the | thief
The doctor gave the patient some | medicine
The cat chased the | mouse
The dog wagged its | tail
The bird built a | nest
The baby started to | cry
The audience began to | clap
The bell | rang
The phone began to | ring
The firefighters put out the | fire
The plane landed at the | airport
The train arrived at the | station
The ship sailed across the | ocean
The horse pulled the | cart
The hunter shot the | deer
The waiter brought us the | menu
The goalkeeper caught the | ball
The magician pulled a rabbit out of his | hat
The teacher wrote on the | board
The students took the | exam
The thirsty man drank a glass of | water
The hungry boy ate a | sandwich
He turned on the light because it was | dark
She put on a coat because it was | cold
He opened the window because it was | hot
She laughed because the joke was | funny
He went to bed because he was | tired
She ate because she was | hungry
He drank because he was | thirsty
She cried because she was | sad
"""

# Words of this list that would end the saying (nearly) as well, so they are no wrong choice.
ALSO_FITS = {
    "Time is": "power",
    "Knowledge is": "money bliss",
    "Ignorance is": "power",
    "Love is": "money power bliss sweet blue",
    "Curiosity killed the": "mouse lion thief",
    "Blood is thicker than": "milk honey",
    "You can't teach an old dog new": "words",
    "Bread and": "milk water honey",
    "Salt and": "water ice sugar",
    "Black and": "red green yellow blue",
    "He slept like a": "puppy lamb kitten cat calf cub",
    "He kicked the": "ball thief lion cat mouse",
    "He had a change of": "mind",
    "She was as busy as a": "bees mouse",
    "He was as blind as a": "mouse kitten puppy",
    "She has butterflies in her": "hands head",
    "Once upon a": "day night",
    "There is light at the end of the": "day night",
    "She is on cloud": "one",
    "Snow is": "cold",
    "Grass is": "yellow",
    "Coal is": "hot",
    "Ice is": "white hot blue",
    "Fire is": "red yellow",
    "Sugar is": "white",
    "Lemons are": "sweet green",
    "Blood is": "hot sweet",
    "The sun rises in the": "west sky winter spring",
    "The sun sets in the": "east sky winter ocean",
    "The earth revolves around the": "moon",
    "The moon orbits the": "sun",
    "Water freezes and turns into": "water",
    "Sheep give us": "milk",
    "Fish swim in the": "ocean",
    "Birds fly in the": "spring winter",
    "Cows produce": "wool butter",
    "Dogs like to chew on a": "ball hand",
    "We see with our": "ears",
    "We hear with our": "eyes",
    "We smell with our": "mouth",
    "We chew food with our": "mouth",
    "The fingers are part of the": "hands",
    "The toes are part of the": "feet leg legs",
    "You wear shoes on your": "foot hands",
    "You wear gloves on your": "hand finger",
    "He wore a watch on his": "hand finger",
    "She put the ring on her": "hand wrist",
    "A year has twelve": "days",
    "An hour has sixty": "seconds",
    "A minute has sixty": "minutes",
    "A century is one hundred": "days",
    "A decade is ten": "days",
    "The first month of the year is": "December",
    "The last month of the year is": "January",
    "The day after Monday is": "Friday Saturday",
    "The day before Sunday is": "Friday Tuesday",
    "The day after Thursday is": "Tuesday Saturday",
    "A bicycle has two": "sides",
    "An octopus has eight": "legs eyes hearts",
    "A spider has eight": "arms eyes",
    "A pilot flies a": "ship",
    "A doctor works in a": "school",
    "A teacher works in a": "library",
    "A chef works in a": "school hospital",
    "A librarian works in a": "school",
    "A sailor works on a": "plane",
    "A farmer works on a": "ship",
    "A judge works in a": "school",
    "A baker bakes": "cake",
    "A writer writes": "words songs",
    "A painter paints": "books eggs",
    "A carpenter works with": "hands stone hammer",
    "A singer sings": "words",
    "A photographer takes": "pictures",
    "A fisherman catches": "dogs",
    "A postman delivers the": "milk books",
    "You borrow books from a": "school bank",
    "You keep milk in the": "kitchen bucket basket",
    "You cut bread with a": "sword scissors",
    "You hit a nail with a": "stone",
    "You dig a hole with a": "spoon",
    "You sit on a": "bed horse",
    "You sleep in a": "hospital chair",
    "You pay for things with": "gold",
    "You wash your hands with soap and": "towel ice",
    "You watch movies on a": "plane",
    "Cheese is made from": "wool",
    "Paper is made from": "straw wool leaves",
    "Chocolate is made from": "milk seeds",
    "Honey is made by": "bee",
    "Trees have branches and": "seeds wood",
    "Wine is made from": "tomatoes",
    "Flowers bloom in the": "autumn winter sun",
    "It snows in the": "west east autumn spring",
    "Leaves fall from the trees in": "winter spring",
    "Stars shine at": "dark",
    "The sky on a clear day is": "black dark red white green sad yellow",
    "The White House is in": "York",
    "Christmas is celebrated in": "winter January Australia",
    "Kangaroos live in": "China Egypt",
    "Children open presents on": "birthday Friday Saturday",
    "On Halloween, children dress up in": "black white",
    "The pyramids are in": "China",
    "People blow out candles on their": "cake Christmas",
    "The bride wore a white": "hat",
    "The doctor gave the patient some": "water bread milk",
    "The police officer arrested the": "Romans gentlemen beholder",
    "The cat chased the": "kitten puppy bee dogs bees tail ball deer fish cat lamb bat",
    "The bird built a": "basket",
    "The baby started to": "chew clap go lie leap",
    "The audience began to": "cry chew leap go",
    "The phone began to": "rang",
    "The plane landed at the": "station hospital",
    "The train arrived at the": "airport",
    "The ship sailed across the": "water",
    "The horse pulled the": "plane ship tail",
    "The hunter shot the": "cub lion dogs bat cat",
    "The waiter brought us the": "bread cake",
    "The magician pulled a rabbit out of his": "mouth basket bucket",
    "The teacher wrote on the": "screen books",
    "The students took the": "mail medicine",
    "The thirsty man drank a glass of": "milk",
    "The hungry boy ate a": "cake fish",
    "He turned on the light because it was": "night cold",
    "She put on a coat because it was": "winter dark autumn",
    "He opened the window because it was": "dark spring cold",
    "She laughed because the joke was": "sweet",
    "She ate because she was": "sad tired",
    "He went to bed because he was": "sad cold thirsty hungry",
    "He drank because he was": "sad hot",
    "She cried because she was": "tired hungry thirsty cold blind",
}
