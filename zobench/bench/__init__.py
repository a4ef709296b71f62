"""How fast a step is: engines and scopes against MeZO's own order of operations, in one process.

`random_models`: models of random weights in the shapes of real ones. `lengths`: how long the rows of the tasks are.
`work`: batches of those lengths. `sides`: what is compared. `measure`: interleaved steps. `ceilings`: what the machine
can do at most. `report`: tables and JSON, and the paper's cost model fitted.
"""
