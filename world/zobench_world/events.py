"""Chains of three events, each the cause of the next: what the text teaches about causes, and COPA asks for."""

from __future__ import annotations

from typing import NamedTuple


class Chain(NamedTuple):
    """Why it happened, what happened, what came of it. {p}: the person, or a pronoun."""

    cause: str
    event: str
    effect: str


def _chain(line: str) -> Chain:
    cause, event, effect = (part.strip() for part in line.split("|"))
    return Chain(cause, event, effect)


CHAINS: tuple[Chain, ...] = tuple(
    _chain(line)
    for line in """
    {p} had no umbrella | {p} got wet in the rain | {p} caught a cold
    {p} did not hear the clock | {p} woke up late | {p} missed the bus
    {p} studied all week | {p} passed the exam | {p} went to a good school
    {p} never opened the books | {p} failed the exam | {p} had to repeat the class
    {p} had wet hands | {p} dropped the glass | the floor was full of glass
    {p} ran ten miles | {p} was thirsty | {p} drank a lot of water
    {p} skipped lunch | {p} was hungry | {p} ate a big dinner
    {p} worked all night | {p} was tired | {p} fell asleep at the desk
    {p} won a prize | {p} became rich | {p} bought a big house
    {p} lost the job | {p} had no money | {p} could not pay the rent
    {p} drove too fast | {p} hit a tree | the car had to be repaired
    {p} climbed on the roof | {p} broke a leg | {p} went to the hospital
    {p} ate bad fish | {p} felt sick | {p} called a doctor
    {p} told a joke | {p} made the friends laugh | the friends asked for more
    {p} played loud music | {p} woke the neighbors | the neighbors called the police
    {p} lied to a friend | {p} lost a friend | {p} was lonely
    {p} heard a noise | {p} was scared | {p} ran out of the house
    {p} forgot the pan | {p} burned the food | there was smoke in the kitchen
    {p} trained every day | {p} won the race | {p} got a gold medal
    {p} left the window open | {p} let the cold in | {p} put on a sweater
    {p} had a hole in the pocket | {p} lost the key | {p} waited outside the door
    {p} watered the garden | {p} grew nice flowers | {p} sold flowers at the market
    {p} stole a ring | {p} was caught by the police | {p} went to prison
    {p} read a sad letter | {p} cried all day | {p} had red eyes
    {p} stayed in the sun | {p} had a red skin | {p} needed a cream
    {p} used the phone all day | {p} had an empty battery | {p} could not call anyone
    {p} liked to sing | {p} joined the choir | {p} sang at the concert
    {p} found a lost dog | {p} gave the dog back | {p} got a warm thank you
    {p} was bored at home | {p} went to the park | {p} met old friends
    {p} had a bad tooth | {p} saw the dentist | {p} could eat again
    {p} saved for years | {p} bought a boat | {p} sailed on the lake
    {p} broke the lamp | {p} sat in the dark | {p} lit a candle
    """.strip().splitlines()
)
